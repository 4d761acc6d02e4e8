//! Who wants which publications. Subscribing is filtering in the client: the server sends every
//! publication to every client.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The subscribers of every topic, as one immutable value that the reader holds without a lock. A tree, because it is
/// asked for every publication, and most programs have but a few topics.
pub type Snapshot<S> = Arc<BTreeMap<Box<str>, Arc<[S]>>>;

/// The subscriptions of a session. `S` is whatever receives publications.
#[derive(Debug)]
pub struct Topics<S> {
    snapshot: Snapshot<S>,
    by_id: HashMap<u64, (Box<str>, S)>,
    next_id: u64,
}

impl<S> Default for Topics<S> {
    fn default() -> Self {
        Topics { snapshot: Arc::default(), by_id: HashMap::new(), next_id: 1 }
    }
}

impl<S: Clone> Topics<S> {
    /// The id that the next subscription gets.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Adds a subscriber. Several may want one topic.
    pub fn subscribe(&mut self, topic: &str, subscriber: S) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.by_id.insert(id, (topic.into(), subscriber));
        self.renew(topic);
        id
    }

    /// Removes a subscriber; `None` if the id is not (any more) one of a subscription.
    pub fn unsubscribe(&mut self, id: u64) -> Option<S> {
        let (topic, subscriber) = self.by_id.remove(&id)?;
        self.renew(&topic);
        Some(subscriber)
    }

    /// Removes all subscribers.
    pub fn clear(&mut self) -> Vec<S> {
        self.snapshot = Arc::default();
        self.by_id.drain().map(|(_, (_, s))| s).collect()
    }

    /// The subscriber with this id.
    pub fn get(&self, id: u64) -> Option<&S> {
        self.by_id.get(&id).map(|(_, s)| s)
    }

    /// The table as it is now.
    pub fn snapshot(&self) -> Snapshot<S> {
        Arc::clone(&self.snapshot)
    }

    fn renew(&mut self, topic: &str) {
        let mut ids: Vec<u64> = self.by_id.iter().filter(|(_, (t, _))| **t == *topic).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let subscribers: Arc<[S]> = ids.iter().map(|id| self.by_id[id].1.clone()).collect();
        let table = Arc::make_mut(&mut self.snapshot);
        if subscribers.is_empty() {
            table.remove(topic);
        } else {
            table.insert(topic.into(), subscribers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_subscriptions_to_a_topic_come_and_go() {
        let mut t = Topics::default();
        let a = t.subscribe("x", "a");
        let before = t.snapshot();
        let b = t.subscribe("x", "b");
        t.subscribe("", "c");
        assert_eq!(t.snapshot().get("x").unwrap()[..], ["a", "b"]);
        assert_eq!(before.get("x").unwrap()[..], ["a"], "a snapshot never changes");
        assert_eq!(t.unsubscribe(a), Some("a"));
        assert_eq!(t.unsubscribe(a), None);
        assert_eq!(t.snapshot().get("x").unwrap()[..], ["b"]);
        t.unsubscribe(b);
        assert!(t.snapshot().get("x").is_none());
        assert_eq!(t.snapshot().get("").unwrap()[..], ["c"]);
        assert_eq!(t.clear(), ["c"]);
    }
}
