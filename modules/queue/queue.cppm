// ipcpp.queue - messages between processes.
//
//   :message :received        what may be sent, and what receiving says
//   :endpoint :waitable       what all queues share: who sends and receives, waiting
module;

export module ipcpp.queue;

export import :message;
export import :received;
export import :endpoint;
export import :waitable;
export import :letter_ring;
export import :message_queue;
export import :broadcast_ring;
export import :broadcast_queue;
