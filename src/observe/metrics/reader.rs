//! What one sink has been told: sums of its own, so that each sink takes them at its own pace.

use super::cells::{Cell, Totals, Wanted};
use super::conventions::{Conventions, Sums};

/// What a sink asks for.
#[derive(Debug, Clone)]
pub(in crate::observe) struct Reading {
    pub(in crate::observe) wanted: Wanted,
    /// Upper bounds of durations, in seconds.
    pub(in crate::observe) bounds: Vec<f64>,
    pub(in crate::observe) keeps: Keeps,
}

/// From when on sums count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::observe) enum Keeps {
    /// From the start of the process.
    Sums,
    /// From when the sink read last, and single durations with them.
    Changes,
}

/// Which of the readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::observe) struct ReaderId(pub(super) usize);

/// Sums for one sink.
pub(super) struct Reader {
    pub(super) wanted: Wanted,
    pub(super) keeps: Keeps,
    pub(super) bounds: Box<[f64]>,
    /// For each bucket of the cells, the one of this reader.
    places: Box<[usize]>,
    pub(super) totals: Totals,
    pub(super) conventions: Sums,
    /// Reloads that were told, where only changes are.
    pub(super) reloads: u64,
}

impl Reader {
    /// `all` are the bounds of the cells, which this reader's are among.
    pub(super) fn new(reading: &Reading, all: &[f64]) -> Self {
        let bounds = clean(&reading.bounds);
        let place = |bound: &f64| bounds.iter().take_while(|own| *own < bound).count();
        let places = all.iter().map(place).chain([bounds.len()]).collect();
        Self {
            wanted: reading.wanted,
            keeps: reading.keeps,
            places,
            bounds: bounds.into(),
            totals: Totals::default(),
            conventions: Sums::default(),
            reloads: 0,
        }
    }

    pub(super) fn add_conventions(&mut self, more: &Conventions) {
        if self.wanted.conventions {
            self.conventions.add(more, &self.places, self.bounds.len());
        }
    }

    pub(super) fn add(&mut self, cell: &Cell) {
        self.totals.add(cell, self.wanted, &self.places, self.bounds.len());
    }
}

/// Finite bounds, rising, each once.
pub(super) fn clean(bounds: &[f64]) -> Vec<f64> {
    let mut bounds = bounds.to_vec();
    bounds.retain(|bound| bound.is_finite());
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_all_fall_into_those_of_one() {
        let wanted = Wanted {
            entry_points: true,
            routers: false,
            services: false,
            by_header: false,
            conventions: false,
        };
        let reading = Reading { wanted, bounds: vec![1.0, f64::NAN, 0.1], keeps: Keeps::Sums };
        let reader = Reader::new(&reading, &[0.05, 0.1, 0.5, 1.0, 5.0]);
        assert_eq!(*reader.bounds, [0.1, 1.0]);
        assert_eq!(*reader.places, [0, 0, 1, 1, 2, 2]);
    }
}
