//! Keeps a QUIC connection on its core when its client's address changes.
//!
//! The kernel chooses a core's socket by both ends' addresses. So each connection id names its core, and a core that
//! gets a datagram of another one's hands it over.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, UdpPoller};

/// Length of our connection ids: the core, hidden, and what hides it.
const ID_BYTES: usize = 8;
/// Set in the first byte of packets that do not end a handshake or begin one.
const LONG_HEADER: u8 = 0x80;
/// Buffers that wait for a core, at most. Others are dropped, as networks do.
const WAITING_MAX: usize = 256;

/// Which core an id belongs to. The same on all cores of an entry point.
#[derive(Clone, Default)]
pub(super) struct Ids(Arc<RandomState>);

impl Ids {
    fn mask(&self, rest: &[u8]) -> u8 {
        let [mask, ..] = self.0.hash_one(rest).to_be_bytes();
        mask
    }

    /// The core of the connection that a datagram belongs to; `None` where it does not say.
    fn core(&self, datagram: &[u8]) -> Option<u8> {
        let (&first, rest) = datagram.split_first()?;
        if first & LONG_HEADER != 0 {
            return None;
        }
        let (&core, rest) = rest.get(..ID_BYTES)?.split_first()?;
        Some(core ^ self.mask(rest))
    }
}

/// Makes ids that name `core`.
pub(super) struct Generator {
    pub(super) ids: Ids,
    pub(super) core: u8,
}

impl ConnectionIdGenerator for Generator {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id: [u8; ID_BYTES] = rand::random();
        if let Some((core, rest)) = id.split_first_mut() {
            *core = self.core ^ self.ids.mask(rest);
        }
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// What other cores have received for one of them.
#[derive(Default)]
pub(super) struct Mailbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    buffers: VecDeque<(Box<[u8]>, RecvMeta)>,
    reader: Option<Waker>,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, bytes: &[u8], meta: RecvMeta) {
        let mut waiting = self.lock();
        if waiting.buffers.len() < WAITING_MAX {
            waiting.buffers.push_back((bytes.into(), meta));
        }
        let reader = waiting.reader.take();
        drop(waiting);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Fills in what waits. If that is nothing, the caller is woken when there is something.
    fn take(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> usize {
        let mut waiting = self.lock();
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some((bytes, of_it)) = waiting.buffers.pop_front() else { break };
            if let Some(space) = buffer.get_mut(..bytes.len()) {
                space.copy_from_slice(&bytes);
                *meta = of_it;
                count += 1;
            }
        }
        if count == 0 {
            waiting.reader = Some(cx.waker().clone());
        }
        count
    }
}

/// A core's socket.
pub(super) struct Steered {
    pub(super) socket: Arc<dyn AsyncUdpSocket>,
    pub(super) core: u8,
    pub(super) ids: Ids,
    /// By core.
    pub(super) mailboxes: Arc<[Mailbox]>,
}

impl Steered {
    /// The mailbox of the core that `datagrams` belong to, where it is another one.
    fn elsewhere(&self, datagrams: &[u8]) -> Option<&Mailbox> {
        let core = self.ids.core(datagrams).filter(|&core| core != self.core)?;
        self.mailboxes.get(usize::from(core))
    }
}

impl fmt::Debug for Steered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steered").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Steered {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let own = self.mailboxes.get(usize::from(self.core));
        if let Some(count) = own.map(|own| own.take(cx, buffers, metas)).filter(|&count| count > 0)
        {
            return Poll::Ready(Ok(count));
        }
        let polled = self.socket.poll_recv(cx, buffers, metas);
        if let Poll::Ready(Ok(count)) = polled {
            for (buffer, meta) in buffers.iter().zip(metas.iter_mut()).take(count) {
                // What came together has one sender, and nearly always one connection.
                let datagrams = buffer.get(..meta.len).unwrap_or_default();
                if let Some(mailbox) = self.elsewhere(datagrams) {
                    mailbox.put(datagrams, *meta);
                    meta.len = 0;
                }
            }
        }
        polled
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Arriving(Vec<u8>);

    impl AsyncUdpSocket for Arriving {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            panic!("nothing is sent")
        }

        fn try_send(&self, _: &Transmit<'_>) -> io::Result<()> {
            panic!("nothing is sent")
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            buffers: &mut [IoSliceMut<'_>],
            metas: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            buffers[0][..self.0.len()].copy_from_slice(&self.0);
            metas[0].len = self.0.len();
            metas[0].stride = self.0.len();
            Poll::Ready(Ok(1))
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            panic!("nobody asks")
        }
    }

    /// A datagram for the connection `id`.
    fn datagram(id: &[u8]) -> Vec<u8> {
        [&[0x40], id, b"sealed"].concat()
    }

    #[test]
    fn ids_name_their_core_and_hide_it() {
        let ids = Ids::default();
        let mut generator = Generator { ids: ids.clone(), core: 3 };
        let made: Vec<ConnectionId> = (0..100).map(|_| generator.generate_cid()).collect();
        assert!(made.iter().all(|id| ids.core(&datagram(id)) == Some(3)));
        assert!(made.iter().any(|id| id[0] != made[0][0]));
        assert_eq!(ids.core(&[&[0xc0][..], &made[0]].concat()), None, "a long header");
        assert_eq!(ids.core(&datagram(&made[0])[..8]), None, "too short");
    }

    #[test]
    fn datagrams_of_other_cores_are_handed_over() {
        let ids = Ids::default();
        let mailboxes: Arc<[Mailbox]> = (0..2).map(|_| Mailbox::default()).collect();
        let mine = datagram(&Generator { ids: ids.clone(), core: 0 }.generate_cid());
        let theirs = datagram(&Generator { ids: ids.clone(), core: 1 }.generate_cid());
        let read = |core, arriving: &[u8]| {
            let socket = Arc::new(Arriving(arriving.to_vec()));
            let (ids, mailboxes) = (ids.clone(), mailboxes.clone());
            let steered = Steered { socket, core, ids, mailboxes };
            let mut buffer = [0; 64];
            let mut metas = [RecvMeta::default()];
            let mut cx = Context::from_waker(Waker::noop());
            let polled =
                steered.poll_recv(&mut cx, &mut [IoSliceMut::new(&mut buffer)], &mut metas);
            assert!(matches!(polled, Poll::Ready(Ok(1))));
            buffer[..metas[0].len].to_vec()
        };
        assert_eq!(read(0, &mine), mine);
        assert_eq!(read(0, &theirs), b"");
        assert_eq!(read(1, b"\x40of nobody at all"), theirs, "what was handed over comes first");
        for _ in 0..2 * WAITING_MAX {
            read(0, &theirs);
        }
        assert_eq!(mailboxes[1].lock().buffers.len(), WAITING_MAX);
    }
}
