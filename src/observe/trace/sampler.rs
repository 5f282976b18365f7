//! `tracing.sampleRate`: which traces are recorded.

/// Records a share of the traces, by their ids, so that all who follow the same rate agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sampler {
    /// Of 63 bits of the id.
    below: u64,
}

impl Sampler {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the rate is between 0 and 1 there"
    )]
    pub(super) fn new(rate: f64) -> Self {
        const ALL: u64 = 1 << 63;
        let below = match rate {
            rate if rate >= 1.0 => ALL,
            rate if rate > 0.0 => (rate * ALL as f64) as u64,
            _ => 0,
        };
        Self { below }
    }

    /// Whether a trace that begins here is recorded.
    pub(super) fn samples(self, trace: [u8; 16]) -> bool {
        let low = u128::from_be_bytes(trace) & u128::from(u64::MAX);
        low >> 1 < u128::from(self.below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_a_share_of_the_ids() {
        let trace = |first: u8| {
            let mut trace = [0; 16];
            trace[8] = first;
            trace
        };
        let sampled =
            |rate: f64| (0..=255).filter(|first| Sampler::new(rate).samples(trace(*first))).count();
        for (rate, expected) in
            [(0.0, 0), (0.25, 64), (0.5, 128), (1.0, 256), (7.0, 256), (-1.0, 0), (f64::NAN, 0)]
        {
            assert_eq!(sampled(rate), expected, "{rate}");
        }
    }
}
