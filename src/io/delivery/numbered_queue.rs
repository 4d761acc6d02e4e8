//! A queue whose elements are numbered in the order in which they were added, and can be removed by their numbers.

use std::collections::VecDeque;

/// Beyond this number of gaps, the gaps are closed when they outnumber the elements.
const MAX_GAPS: usize = 64;

/// Capacity that is kept when the queue is empty.
const MAX_KEPT_CAPACITY: usize = 1024;

/// The queue.
pub(super) struct NumberedQueue<T> {
    /// The elements, and gaps where one was removed. Neither the first nor the last is a gap.
    slots: VecDeque<(u64, Option<T>)>,
    /// The number of the next element.
    next: u64,
    /// The number of elements.
    len: usize,
}

impl<T> Default for NumberedQueue<T> {
    fn default() -> Self {
        NumberedQueue { slots: VecDeque::new(), next: 0, len: 0 }
    }
}

impl<T> NumberedQueue<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends an element, and returns its number.
    pub fn push(&mut self, element: T) -> u64 {
        let number = self.next;
        self.next += 1;
        self.slots.push_back((number, Some(element)));
        self.len += 1;
        number
    }

    /// Removes the element with this number.
    pub fn remove(&mut self, number: u64) -> Option<T> {
        let at = match self.slots.front() {
            Some((first, _)) if *first == number => 0,
            _ => self.slots.binary_search_by_key(&number, |slot| slot.0).ok()?,
        };
        let element = self.slots[at].1.take()?;
        self.len -= 1;
        while self.slots.front().is_some_and(|slot| slot.1.is_none()) {
            self.slots.pop_front();
        }
        while self.slots.back().is_some_and(|slot| slot.1.is_none()) {
            self.slots.pop_back();
        }
        if self.len == 0 {
            self.slots.shrink_to(MAX_KEPT_CAPACITY);
        } else if self.slots.len() > 2 * self.len + MAX_GAPS {
            self.slots.retain(|slot| slot.1.is_some());
        }
        Some(element)
    }

    /// The first element.
    pub fn first(&self) -> Option<&T> {
        self.slots.front()?.1.as_ref()
    }

    /// The last element, to be changed.
    pub fn last_mut(&mut self) -> Option<&mut T> {
        self.slots.back_mut()?.1.as_mut()
    }

    /// The elements with their numbers, in their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &T)> {
        self.slots.iter().filter_map(|(number, element)| Some((*number, element.as_ref()?)))
    }

    /// The elements in their order.
    pub fn into_elements(self) -> impl Iterator<Item = T> {
        self.slots.into_iter().filter_map(|slot| slot.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn behaves_like_a_map_by_number() {
        let (mut queue, mut map) = (NumberedQueue::default(), BTreeMap::new());
        let mut seed = 1u32;
        for i in 0..5000u32 {
            // A linear congruential generator: the same numbers in every run.
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if seed >> 30 != 0 || map.is_empty() {
                map.insert(queue.push(i), i);
            } else {
                let any = *map.keys().nth((seed >> 8) as usize % map.len()).unwrap();
                for number in [any, any, u64::MAX] {
                    assert_eq!(queue.remove(number), map.remove(&number));
                }
            }
            if i % 1000 > 700
                && let Some(number) = map.keys().next().copied()
            {
                assert_eq!(queue.remove(number), map.remove(&number));
            }
            assert_eq!((queue.len(), queue.is_empty()), (map.len(), map.is_empty()));
            assert_eq!(queue.first(), map.values().next());
            assert_eq!(queue.last_mut().map(|last| *last), map.values().last().copied());
        }
        assert!(queue.iter().eq(map.iter().map(|(number, element)| (*number, element))));
        assert!(queue.iter().rev().eq(map.iter().rev().map(|(number, element)| (*number, element))));
        assert!(queue.into_elements().eq(map.into_values()));
    }

    #[test]
    fn gaps_do_not_accumulate() {
        let mut queue = NumberedQueue::default();
        queue.push(0);
        let mut newest = queue.push(1);
        for i in 2..10_000 {
            let next = queue.push(i);
            assert_eq!(queue.remove(newest), Some(i - 1));
            newest = next;
            assert!(queue.slots.len() <= 2 * queue.len() + MAX_GAPS);
        }
        assert_eq!(queue.iter().collect::<Vec<_>>(), [(0, &0), (9999, &9999)]);
    }
}
