//! `inFlightConn`: limits how many connections each client address has at a time.
//!
//! Traefik v3: TCP middlewares, `InFlightConn`. Each peer counts for itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Admission, Middleware};
use crate::tcp::options;

pub(super) struct InFlightConn {
    amount: u64,
    open: Arc<Open>,
}

/// Open connections by client; no more entries than there are connections.
#[derive(Default)]
struct Open(Mutex<HashMap<IpAddr, u64>>);

impl Open {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlightConn {
    pub(super) fn new(options: &options::InFlightConn) -> Self {
        // A negative amount lets nobody pass, as 0 does.
        Self { amount: u64::try_from(options.amount).unwrap_or(0), open: Arc::default() }
    }
}

impl Middleware for InFlightConn {
    fn admit(&self, client: IpAddr) -> Admission {
        let client = client.to_canonical();
        let mut all = self.open.lock();
        let open = all.get(&client).copied().unwrap_or(0);
        if open >= self.amount {
            return Admission::Refused;
        }
        all.insert(client, open + 1);
        Admission::Admitted(Some(Box::new(Held { client, open: self.open.clone() })))
    }
}

/// One open connection.
struct Held {
    client: IpAddr,
    open: Arc<Open>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = self.open.lock();
        match all.get_mut(&self.client) {
            Some(open) if *open > 1 => *open -= 1,
            _ => {
                all.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_limit_and_gets_its_places_back() {
        let limit = InFlightConn::new(&options::InFlightConn { amount: 2 });
        let admitted = |address: &str| match limit.admit(address.parse().unwrap()) {
            Admission::Admitted(guard) => guard,
            Admission::Refused => None,
        };
        let (first, second) = (admitted("10.0.0.1"), admitted("::ffff:10.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(admitted("10.0.0.1").is_none(), "one address, however it is written");
        assert!(admitted("10.0.0.2").is_some());
        drop(first);
        assert!(admitted("10.0.0.1").is_some());
        drop(second);
        assert_eq!(limit.open.lock().len(), 0, "nobody is remembered");
    }

    #[test]
    fn no_amount_lets_nobody_pass() {
        for amount in [0, -1] {
            let limit = InFlightConn::new(&options::InFlightConn { amount });
            assert!(matches!(limit.admit([10, 0, 0, 1].into()), Admission::Refused));
        }
    }
}
