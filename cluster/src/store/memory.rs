//! The store in memory, for tests: the same behaviour without a disk.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::{Backend, Error, Record, Step};
use crate::lock;

#[derive(Default)]
struct Content {
    log: BTreeMap<u64, Vec<u8>>,
    meta: BTreeMap<String, Vec<u8>>,
    state: Option<Vec<u8>>,
}

#[derive(Default)]
pub(crate) struct Memory(Mutex<Content>);

impl Backend for Memory {
    fn write(&self, steps: &[Step]) -> Result<(), Error> {
        let mut content = lock(&self.0);
        for step in steps {
            match step {
                Step::Append { index, record } => {
                    content.log.insert(*index, record.clone());
                }
                Step::TruncateFrom(index) => {
                    content.log.split_off(index);
                }
                Step::PurgeTo(index) => content.log.retain(|at, _| at > index),
                Step::Meta { name, value } => {
                    content.meta.insert(name.clone(), value.clone());
                }
            }
        }
        Ok(())
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Record>, Error> {
        let mut bytes = 0;
        let content = lock(&self.0);
        let mut records = Vec::new();
        for (index, record) in content.log.range(from..to) {
            records.push((*index, record.clone()));
            bytes += record.len();
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(records)
    }

    fn last(&self) -> Result<Option<u64>, Error> {
        Ok(lock(&self.0).log.keys().next_back().copied())
    }

    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(lock(&self.0).meta.get(name).cloned())
    }

    fn save_state(&self, state: &[u8]) -> Result<(), Error> {
        lock(&self.0).state = Some(state.to_vec());
        Ok(())
    }

    fn load_state(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(lock(&self.0).state.clone())
    }

    fn close(&self) {}
}
