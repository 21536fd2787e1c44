# The units of ipcpp.queue: interfaces, internal partitions, bodies.
set(queue_interfaces
  modules/queue/queue.cppm
  modules/queue/message.cppm
  modules/queue/received.cppm
  modules/queue/endpoint.cppm
  modules/queue/waitable.cppm)
set(queue_internal)
set(queue_bodies
  impl/queue/endpoint.cpp
  impl/queue/waiting.cpp)
