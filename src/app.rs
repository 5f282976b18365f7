//! Wiring: builds each part, hands out handles, start and shutdown order.
