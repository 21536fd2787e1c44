// An old program: C++14, never heard of modules. Two processes talk through the bridge.
#include "market.hpp"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <system_error>

#if __cplusplus >= 201703L
#error "this unit is to show that the bridge's users need no new standard"
#endif

static int receive(const std::string& name) {
  market here(name);
  double sum = 0;
  for (int expected = 1; expected <= 100; ++expected) {
    int instrument = 0;
    double price = 0;
    if (!here.receive(instrument, price, 20000)) return 3;
    if (instrument != expected) return 4;
    sum += price;
  }
  return sum > 50.49 && sum < 50.51 ? 0 : 5;
}

int main(int argc, char** argv) {
  try {
    if (argc == 3 && argv[1] == std::string("receive")) return receive(argv[2]);
    if (argc == 3 && argv[1] == std::string("publish")) {
      market here(argv[2]);
      for (int i = 1; i <= 100; ++i) here.publish(i, i * 0.01);
      return 0;
    }
    if (argc != 2) return std::fprintf(stderr, "usage: old_program NAME\n"), 2;
    market here(argv[1]);  // keeps the name while the two come and go
    const std::string self = "\"" + std::string(argv[0]) + "\" ";
    const std::string both = self + "publish " + argv[1] + " && " + self + "receive " + argv[1];
    const int status = std::system(both.c_str());
    std::puts(status == 0 ? "ok" : "FAIL");
    return status == 0 ? 0 : 1;
  } catch (const std::system_error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
