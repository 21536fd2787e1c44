// image_pipeline - pictures through a pipeline of processes, without a copy between them.
//
//             raw (loan_queue)                     edges (loan_queue)
//   reader ======================> edges filter ====================.
//             |                                                      :=====> writer
//             `==================> soft filter  ===================='
//                                                  soft (loan_queue)
//
// Shows
//   loan_queue   a stage writes its picture into a chunk of the pool and hands on the chunk's number;
//                two filters read the same picture where it lies, and write theirs straight into
//                chunks of their own. A full queue holds the faster stage back
//   wait_any     the writer takes from two queues whatever is there first
//
// Pictures are binary PPM files (P6, 8 bits a colour). Without FILEs it draws some of its own.
// For each FILE the folder of --out gets NAME.edges.ppm and NAME.soft.ppm.
//
// Exit status 0 only if every picture of both kinds was written. If a stage dies, the others end in
// good order, and it says which one it was.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../support/program.hpp"

import ipcpp;

namespace fs = std::filesystem;
using namespace ipcpp::literals;
using namespace std::chrono_literals;

namespace {

// What stands at the beginning of a chunk; the pixels follow, three bytes each.
struct frame {
  std::uint32_t number;
  std::uint32_t width;
  std::uint32_t height;
  char name[244];  // of the file, without folder and ending

  std::size_t pixel_bytes() const { return std::size_t{3} * width * height; }
};
static_assert(sizeof(frame) == 256);

const frame& head_of(const ipcpp::received_loan& of) {
  return *static_cast<const frame*>(static_cast<const void*>(of.data()));
}
const std::uint8_t* pixels_of(const ipcpp::received_loan& of) {
  return static_cast<const std::uint8_t*>(static_cast<const void*>(of.data() + sizeof(frame)));
}
std::uint8_t* pixels_of(const ipcpp::outgoing_loan& of) {
  return static_cast<std::uint8_t*>(static_cast<void*>(of.data() + sizeof(frame)));
}

// ---- files ----

struct ppm {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::ifstream file;  // stands before the first pixel
};

ppm open_ppm(const std::string& path) {
  ppm in;
  in.file.open(path, std::ios::binary);
  if (!in.file) throw std::runtime_error("cannot read " + path);
  const auto word = [&] {
    std::string text;
    while (in.file >> std::ws && in.file.peek() == '#') std::getline(in.file, text);
    in.file >> text;
    return text;
  };
  const std::string magic = word();
  const std::string width = word();
  const std::string height = word();
  const std::string most = word();
  in.width = static_cast<std::uint32_t>(std::strtoul(width.c_str(), nullptr, 10));
  in.height = static_cast<std::uint32_t>(std::strtoul(height.c_str(), nullptr, 10));
  if (magic != "P6" || most != "255" || in.width == 0 || in.height == 0 || in.width > 32768 ||
      in.height > 32768)
    throw std::runtime_error(path + " is not a binary PPM (P6) of 8 bits, up to 32768 x 32768");
  in.file.get();
  return in;
}

void write_ppm(const fs::path& path, const frame& of, const std::uint8_t* pixels) {
  const fs::path unfinished = path.string() + ".part";
  std::ofstream file(unfinished, std::ios::binary);
  file << "P6\n" << of.width << ' ' << of.height << "\n255\n";
  file.write(static_cast<const char*>(static_cast<const void*>(pixels)),
             static_cast<std::streamsize>(of.pixel_bytes()));
  file.close();
  if (!file) throw std::runtime_error("cannot write " + unfinished.string());
  fs::rename(unfinished, path);  // nobody finds half a picture
}

// A picture to have something to filter: rings, a slope, and a disc with a sharp edge.
void draw(const frame& f, std::uint8_t* pixels) {
  const double phase = f.number * 0.7;
  for (std::uint32_t y = 0; y < f.height; ++y)
    for (std::uint32_t x = 0; x < f.width; ++x) {
      const double u = (x + 0.5 - f.width / 2.0) / f.width;
      const double v = (y + 0.5 - f.height / 2.0) / f.width;
      const bool disc = std::hypot(u - 0.25 * std::cos(phase), v - 0.25 * std::sin(phase)) < 0.14;
      const double ring = 0.5 + 0.5 * std::sin(60 * std::hypot(u, v) - phase);
      *pixels++ = disc ? 250 : static_cast<std::uint8_t>(255 * ring);
      *pixels++ = disc ? 210 : static_cast<std::uint8_t>(255 * (u + 0.5));
      *pixels++ = disc ? 40 : static_cast<std::uint8_t>(255 * (v + 0.5));
    }
}

// ---- filters: from a chunk of one queue into a chunk of another ----

// How steep brightness is (Sobel), as grey.
void find_edges(const frame& f, const std::uint8_t* in, std::uint8_t* out) {
  const auto at = [&](std::int64_t x, std::int64_t y) {
    x = std::clamp<std::int64_t>(x, 0, f.width - 1);
    y = std::clamp<std::int64_t>(y, 0, f.height - 1);
    const std::uint8_t* const p = in + 3 * (y * f.width + x);
    return (p[0] * 299 + p[1] * 587 + p[2] * 114) / 1000;
  };
  for (std::int64_t y = 0; y < f.height; ++y)
    for (std::int64_t x = 0; x < f.width; ++x) {
      const int dx = at(x + 1, y - 1) + 2 * at(x + 1, y) + at(x + 1, y + 1) - at(x - 1, y - 1) -
                     2 * at(x - 1, y) - at(x - 1, y + 1);
      const int dy = at(x - 1, y + 1) + 2 * at(x, y + 1) + at(x + 1, y + 1) - at(x - 1, y - 1) -
                     2 * at(x, y - 1) - at(x + 1, y - 1);
      const auto steep = static_cast<std::uint8_t>(std::min(std::hypot(dx, dy), 255.0));
      for (int c = 0; c < 3; ++c) *out++ = steep;
    }
}

// The mean of 5 x 5 pixels.
void soften(const frame& f, const std::uint8_t* in, std::uint8_t* out) {
  for (std::int64_t y = 0; y < f.height; ++y)
    for (std::int64_t x = 0; x < f.width; ++x)
      for (int c = 0; c < 3; ++c) {
        int sum = 0;
        for (std::int64_t j = y - 2; j <= y + 2; ++j)
          for (std::int64_t i = x - 2; i <= x + 2; ++i)
            sum += in[3 * (std::clamp<std::int64_t>(j, 0, f.height - 1) * f.width +
                           std::clamp<std::int64_t>(i, 0, f.width - 1)) +
                      c];
        *out++ = static_cast<std::uint8_t>(sum / 25);
      }
}

// ---- stages; each a process ----

constexpr auto look = 200ms;  // how often a stage that waits looks whether it should stop

// A chunk, or an empty loan when it is time to end.
ipcpp::outgoing_loan chunk_of(ipcpp::loan_publisher& from, std::size_t bytes) {
  for (;;) {
    auto loan = from.loan_for(bytes, look);
    if (loan || examples::should_stop() || loan.status() != ipcpp::send_result::timed_out)
      return loan;
  }
}
bool hand_on(ipcpp::outgoing_loan& loan) {
  for (;;) {
    const auto status = loan.publish_for(look);
    if (status) return true;
    if (examples::should_stop() || status.result() != ipcpp::send_result::timed_out) return false;
  }
}

int read_all(ipcpp::segment& segment, const std::vector<std::string>& files, std::size_t own) {
  auto& queue = *segment.find<ipcpp::loan_queue>("raw");
  auto out = queue.publisher();
  const std::size_t count = files.empty() ? own : files.size();
  for (std::size_t n = 0; n < count; ++n) {
    if (examples::should_stop()) return 1;  // without subscribers nothing ever waits below
    frame f{static_cast<std::uint32_t>(n), 640, 480, {}};
    ppm in;
    if (!files.empty()) {
      in = open_ppm(files[n]);
      f.width = in.width;
      f.height = in.height;
    }
    const std::string name =
        files.empty() ? "picture" + std::to_string(n) : fs::path(files[n]).stem().string();
    name.copy(f.name, sizeof f.name - 1);
    auto loan = chunk_of(out, sizeof f + f.pixel_bytes());
    if (!loan) return 1;
    std::memcpy(loan.data(), &f, sizeof f);
    if (files.empty()) {
      draw(f, pixels_of(loan));
    } else if (!in.file.read(static_cast<char*>(static_cast<void*>(pixels_of(loan))),
                             static_cast<std::streamsize>(f.pixel_bytes()))) {
      throw std::runtime_error(files[n] + " ends before its last pixel");
    }
    if (!hand_on(loan)) return 1;
  }
  queue.close();  // what is in it is still received
  return 0;
}

int filter(ipcpp::segment& segment, const std::string& kind) {
  auto in = segment.find<ipcpp::loan_queue>("raw")->subscriber();
  auto& queue = *segment.find<ipcpp::loan_queue>(kind);
  auto out = queue.publisher();
  while (!examples::should_stop()) {
    const auto picture = in.receive_for(look);
    if (picture.status() == ipcpp::receive_status::closed) {
      queue.close();
      return 0;
    }
    if (!picture) continue;
    auto loan = chunk_of(out, picture.size());
    if (!loan) return 1;
    const frame& f = head_of(picture);
    std::memcpy(loan.data(), &f, sizeof f);
    (kind == "edges" ? find_edges : soften)(f, pixels_of(picture), pixels_of(loan));
    if (!hand_on(loan)) return 1;
  }
  return 1;
}

int write_all(ipcpp::segment& segment, const fs::path& folder) {
  const std::string kind[]{"edges", "soft"};
  ipcpp::loan_subscriber in[]{segment.find<ipcpp::loan_queue>(kind[0])->subscriber(),
                              segment.find<ipcpp::loan_queue>(kind[1])->subscriber()};
  auto& written = *segment.find<std::uint64_t>("written");
  bool open[]{true, true};
  while (open[0] || open[1]) {
    if (examples::should_stop()) return 1;
    if (open[0] && open[1]) {
      if (!ipcpp::wait_any_for(look, in[0], in[1])) continue;
    } else if (!ipcpp::wait_any_for(look, in[open[0] ? 0 : 1])) {
      continue;
    }
    for (int i = 0; i < 2; ++i) {
      const auto picture = in[i].try_receive();
      if (picture.status() == ipcpp::receive_status::closed) open[i] = false;
      if (!picture) continue;
      const frame& f = head_of(picture);
      write_ppm(folder / (std::string(f.name) + "." + kind[i] + ".ppm"), f, pixels_of(picture));
      ++written;
    }
  }
  return 0;
}

// ---- all of it ----

int everything(const std::string& name, const fs::path& folder, std::size_t own,
               const std::vector<std::string>& files) {
  std::size_t largest = files.empty() ? std::size_t{3} * 640 * 480 : 0;
  for (const std::string& file : files) {
    const ppm in = open_ppm(file);
    largest = std::max(largest, std::size_t{3} * in.width * in.height);
  }
  fs::create_directories(folder);

  // In each pool: what the queue holds, what its readers hold, what its writer writes.
  const std::size_t chunk = sizeof(frame) + largest;
  auto segment = ipcpp::segment::create(name, {.max_size = 24 * chunk + 32_MiB});
  auto& raw = segment.construct<ipcpp::loan_queue>(
      "raw", ipcpp::loan_queue_options{.chunk_bytes = chunk, .chunks = 8, .capacity = 4});
  std::vector<ipcpp::loan_queue*> results;
  for (const char* kind : {"edges", "soft"})
    results.push_back(&segment.construct<ipcpp::loan_queue>(
        kind, ipcpp::loan_queue_options{.chunk_bytes = chunk, .chunks = 6, .capacity = 4}));
  auto& written = segment.construct<std::uint64_t>("written");

  const auto began = std::chrono::steady_clock::now();
  std::map<pid_t, std::string> stages;
  const auto begin = [&](const std::string& stage, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--stage", stage, name});
    stages[examples::start(arguments)] = stage;
  };
  std::string died;
  const auto look_after = [&] {
    while (const auto e = examples::reap())
      if (!e->well() && died.empty()) died = "the stage `" + stages[e->pid] + "` " + e->how();
    return died.empty() && !examples::should_stop();
  };
  // Readers before writers: a subscriber sees what is published after it came.
  begin("writer", {folder.string()});
  begin("edges", {});
  begin("soft", {});
  const auto came = [&] {
    return raw.statistics().subscribers == 2 && results[0]->statistics().subscribers == 1 &&
           results[1]->statistics().subscribers == 1;
  };
  while (look_after() && !came()) std::this_thread::sleep_for(1ms);
  if (died.empty()) {
    std::vector<std::string> arguments{std::to_string(own)};
    arguments.insert(arguments.end(), files.begin(), files.end());
    begin("reader", arguments);
  }
  while (look_after() && !examples::started.empty()) std::this_thread::sleep_for(2ms);
  // Who still runs is to end: nobody can publish any more, and what is there can be received.
  raw.close();
  for (auto* const queue : results) queue->close();
  (void)examples::wait_for_all(20s);
  if (!died.empty()) throw std::runtime_error(died);

  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  const std::size_t pictures = files.empty() ? own : files.size();
  std::printf("%zu pictures, %llu files in %s, %.1f MB handed on in place, %.2f s\n", pictures,
              static_cast<unsigned long long>(written), folder.string().c_str(),
              static_cast<double>(raw.statistics().published * 3 * largest) / 1e6, took.count());
  return written == 2 * pictures ? 0 : 1;
}

constexpr const char* usage =
    R"(usage: image_pipeline [OPTIONS] [FILE.ppm...]

  --out DIR      (pictures) where the results go
  --pictures N          (4) how many it draws itself, without FILEs
  --name NAME               the segment's (image_pipeline.PID)
  --help                    this text

To look at a result: `pnmtopng`, ImageMagick's `convert a.ppm a.png`, or any viewer.
)";

}  // namespace

int main(int argc, char** argv) {
  return examples::run("image_pipeline", argv, [&]() -> int {
    if (argc >= 4 && argv[1] == std::string("--stage")) {
      const std::string stage = argv[2];
      auto segment = ipcpp::segment::open(argv[3]);
      if (stage == "reader")
        return read_all(segment, {argv + 5, argv + argc}, std::strtoul(argv[4], nullptr, 10));
      if (stage == "writer") return write_all(segment, argv[4]);
      return filter(segment, stage);
    }
    examples::options given(argc, argv);
    if (given.flag("--help")) return std::fputs(usage, stdout) < 0;
    const fs::path folder = given.text("--out", "pictures");
    const auto own = given.number("--pictures", 4, 1, 10'000);
    const auto name = given.text("--name", "image_pipeline." + std::to_string(::getpid()));
    return everything(name, folder, own, given.rest());
  });
}
