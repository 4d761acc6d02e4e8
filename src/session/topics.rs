//! The subscriptions of each topic. Subscribing only filters in the client: the server sends every publication to every
//! client.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A shared handle to the table of subscribers, for the thread that receives publications. The lock is held for one lookup
/// or change, never for work in proportion to the number of topics.
#[derive(Debug)]
pub struct Directory<S>(Arc<Mutex<Table<S>>>);

/// A tree, because a lookup among few topics, as most programs have, is faster than in a hash table.
type Table<S> = BTreeMap<Box<str>, Topic<S>>;

#[derive(Debug)]
struct Topic<S> {
    /// By subscription id.
    subscribers: BTreeMap<u64, S>,
    /// The same subscribers as a slice. Built when a publication arrives, discarded when a subscription changes.
    list: Option<Arc<[S]>>,
}

impl<S> Default for Directory<S> {
    fn default() -> Self {
        Directory(Arc::default())
    }
}

impl<S> Clone for Directory<S> {
    fn clone(&self) -> Self {
        Directory(Arc::clone(&self.0))
    }
}

impl<S: Clone> Directory<S> {
    /// The subscribers of a topic, oldest first; `None` if there are none.
    pub fn get(&self, topic: &str) -> Option<Arc<[S]>> {
        let mut table = self.0.lock();
        let Topic { subscribers, list } = table.get_mut(topic)?;
        Some(Arc::clone(list.get_or_insert_with(|| subscribers.values().cloned().collect())))
    }
}

/// The subscriptions of a session. `S` receives the publications.
#[derive(Debug)]
pub struct Topics<S> {
    directory: Directory<S>,
    by_id: HashMap<u64, (Box<str>, S)>,
    next_id: u64,
}

impl<S> Default for Topics<S> {
    fn default() -> Self {
        Topics { directory: Directory::default(), by_id: HashMap::new(), next_id: 1 }
    }
}

impl<S: Clone> Topics<S> {
    /// Adds a subscriber and returns its id. A topic may have several.
    pub fn subscribe(&mut self, topic: &str, subscriber: S) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.by_id.insert(id, (topic.into(), subscriber.clone()));
        let mut table = self.directory.0.lock();
        if !table.contains_key(topic) {
            table.insert(topic.into(), Topic { subscribers: BTreeMap::new(), list: None });
        }
        if let Some(topic) = table.get_mut(topic) {
            topic.subscribers.insert(id, subscriber);
            topic.list = None;
        }
        id
    }

    /// Removes and returns a subscriber; `None` if no subscription has this id.
    pub fn unsubscribe(&mut self, id: u64) -> Option<S> {
        let (name, subscriber) = self.by_id.remove(&id)?;
        let mut table = self.directory.0.lock();
        if let Some(topic) = table.get_mut(&*name) {
            topic.subscribers.remove(&id);
            topic.list = None;
            if topic.subscribers.is_empty() {
                table.remove(&*name);
            }
        }
        Some(subscriber)
    }

    /// Removes and returns all subscribers.
    pub fn clear(&mut self) -> Vec<S> {
        self.directory.0.lock().clear();
        self.by_id.drain().map(|(_, (_, s))| s).collect()
    }

    /// The subscriber with this id.
    pub fn get(&self, id: u64) -> Option<&S> {
        self.by_id.get(&id).map(|(_, s)| s)
    }

    /// A handle to the table, which always shows the current subscriptions.
    pub fn directory(&self) -> Directory<S> {
        self.directory.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn several_subscriptions_to_a_topic_come_and_go() {
        let mut t = Topics::default();
        let directory = t.directory();
        let a = t.subscribe("x", "a");
        let before = directory.get("x").unwrap();
        let b = t.subscribe("x", "b");
        t.subscribe("", "c");
        assert_eq!(directory.get("x").unwrap()[..], ["a", "b"]);
        assert_eq!(before[..], ["a"], "a list that was handed out does not change");
        assert_eq!(t.unsubscribe(a), Some("a"));
        assert_eq!(t.unsubscribe(a), None);
        assert_eq!(directory.get("x").unwrap()[..], ["b"]);
        t.unsubscribe(b);
        assert!(directory.get("x").is_none());
        assert_eq!(directory.get("").unwrap()[..], ["c"]);
        assert_eq!(t.clear(), ["c"]);
        assert!(directory.get("").is_none());
    }

    /// Counts its copies.
    #[derive(Debug)]
    struct Counted(Rc<Cell<usize>>);

    impl Clone for Counted {
        fn clone(&self) -> Counted {
            self.0.set(self.0.get() + 1);
            Counted(Rc::clone(&self.0))
        }
    }

    #[test]
    fn the_cost_of_a_subscription_does_not_grow_with_their_number() {
        const MANY: usize = 8000;
        for one_topic in [true, false] {
            let copies = Rc::new(Cell::new(0));
            let mut topics = Topics::default();
            let directory = topics.directory();
            let name = |i: usize| if one_topic { "t".to_owned() } else { format!("t{i}") };
            let mut ids: Vec<_> = (0..MANY).map(|i| topics.subscribe(&name(i), Counted(Rc::clone(&copies)))).collect();
            assert_eq!(directory.get(&name(0)).unwrap().len(), if one_topic { MANY } else { 1 });
            // Unsubscribe at both ends and in the middle.
            ids.sort_by_key(|id| id % 7);
            for id in ids {
                topics.unsubscribe(id).unwrap();
            }
            assert!(copies.get() <= 3 * MANY, "{} copies of {MANY} subscribers", copies.get());
            assert!(directory.get(&name(0)).is_none());
        }
    }
}
