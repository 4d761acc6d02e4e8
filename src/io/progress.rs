//! The progress of large messages, in both directions.

use super::config::{PROGRESS_FROM, Progress};
use super::transport::send_queue::Report;

/// A large message that is arriving.
struct Transfer {
    id: u64,
    reported: u64,
    total: u64,
}

/// The progress of incoming messages on one connection.
#[derive(Default)]
pub struct IncomingProgress {
    transfer: Option<Transfer>,
}

impl IncomingProgress {
    /// The progress to report. `now`: bytes so far and in total of the message that is arriving. `completed`: size of the
    /// largest message completed since the last call. `next_id` numbers a new transfer.
    pub fn update(
        &mut self,
        now: Option<(u64, u64)>,
        completed: Option<u64>,
        next_id: impl FnOnce() -> u64,
    ) -> impl Iterator<Item = Progress> {
        let progress =
            |t: &Transfer, bytes| Progress { incoming: true, transfer: t.id, call: None, bytes, total: t.total };
        let now = now.filter(|(_, total)| *total >= PROGRESS_FROM);
        let (mut completion, mut next) = (None, None);
        if let Some(transfer) = &self.transfer
            && now.is_none_or(|(bytes, total)| total != transfer.total || bytes < transfer.reported)
        {
            // The transfer has ended. Report its completion only if its message has arrived.
            if completed == Some(transfer.total) {
                completion = Some(progress(transfer, transfer.total));
            }
            self.transfer = None;
        }
        if let Some((bytes, total)) = now {
            let transfer = self.transfer.get_or_insert_with(|| Transfer { id: next_id(), reported: 0, total });
            if bytes - transfer.reported >= (total / 100).max(64 << 10) {
                transfer.reported = bytes;
                next = Some(progress(transfer, bytes));
            }
        }
        completion.into_iter().chain(next)
    }
}

/// The progress of outgoing messages to report after a flush.
pub fn outgoing(report: &Report) -> impl Iterator<Item = Progress> {
    let of = |call: Option<u64>, bytes, total| {
        // Numbers of outgoing transfers are odd, those of incoming ones even.
        Progress { incoming: false, transfer: call.unwrap_or(0).wrapping_mul(2) | 1, call, bytes, total }
    };
    let done = report.done.iter().map(move |(message, call)| of(*call, message.total(), message.total()));
    let current = report.current.filter(|_| report.bytes > 0).map(|sent| of(sent.call, sent.bytes, sent.total));
    done.chain(current).filter(|progress| progress.total >= PROGRESS_FROM)
}
