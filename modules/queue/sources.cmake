# The units of ipcpp.queue: interfaces, internal partitions, bodies.
set(queue_interfaces
  modules/queue/queue.cppm
  modules/queue/message.cppm
  modules/queue/received.cppm
  modules/queue/endpoint.cppm
  modules/queue/waitable.cppm
  modules/queue/letter_ring.cppm
  modules/queue/message_queue.cppm)
set(queue_internal)
set(queue_bodies
  impl/queue/endpoint.cpp
  impl/queue/waiting.cpp
  impl/queue/letter_ring.cpp
  impl/queue/message_queue.cpp)
