// The bridge: the one unit of an old program that imports ipcpp. See docs/without_modules.md.
#include "market.hpp"

#include <chrono>
#include <memory>
#include <string>

import ipcpp;

namespace {

struct tick {
  int instrument;
  double price;
};
using feed = ipcpp::mpmc_queue<tick>;

}  // namespace

struct market::parts {
  explicit parts(const std::string& name)
      : segment(ipcpp::segment::open_or_create(name)),
        queue(segment.find_or_construct<feed>("ticks", 256)),
        out(queue.sender()),
        in(queue.receiver()) {}

  ipcpp::segment segment;
  feed& queue;
  ipcpp::mpmc_sender<tick> out;
  ipcpp::mpmc_receiver<tick> in;
};

market::market(const std::string& name) : parts_(new parts(name)) {}
market::~market() = default;

void market::publish(int instrument, double price) {
  parts_->out.send({instrument, price});
}

bool market::receive(int& instrument, double& price, int patience_ms) {
  const auto got = parts_->in.receive_for(std::chrono::milliseconds(patience_ms));
  if (!got) return false;
  instrument = got->instrument;
  price = got->price;
  return true;
}
