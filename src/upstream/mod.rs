//! The client side of the proxy: connector, pool, transport options, exchange, tunnel.
