// ipcpp.queue - messages between processes.
//
//   :message :received        what may be sent, and what receiving says
//   :endpoint :waitable       what all queues share: who sends and receives, waiting
//   :queue_object :blocking   and their objects and blocking forms
//   :ring_slot :lane          messages in a ring; a ring from one to one
//   :spsc_queue               one sender, one receiver
//   :intents :mpmc_queue      many senders, many receivers
//   :mpsc_queue               many senders, one receiver, a lane for each
//   :latest                   the newest value only
//   :wait_any :wait_set       waiting for several
//   :awaitable                receiving in coroutines
module;

export module ipcpp.queue;

export import :message;
export import :received;
export import :endpoint;
export import :waitable;
export import :queue_object;
export import :queue_picture;
export import :awaitable;
export import :blocking;
export import :ring_slot;
export import :lane;
export import :spsc_queue;
export import :intents;
export import :mpmc_queue;
export import :mpsc_queue;
export import :latest;
export import :wait_any;
export import :wait_set;
export import :letter_ring;
export import :message_queue;
export import :broadcast_ring;
export import :broadcast_queue;
export import :loan_ring;
export import :loan_queue;
export import :call_table;
export import :call_queue;
