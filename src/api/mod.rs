//! The HTTP API: Traefik's read calls, our write calls, health.
