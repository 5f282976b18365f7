//! Entry points: sockets, connection limits, the PROXY protocol, and the path of one request.
