//! Services: load balancing over servers, and services made of services.
