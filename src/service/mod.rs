//! Services: balancers, sticky sessions, health, and services made of services.
