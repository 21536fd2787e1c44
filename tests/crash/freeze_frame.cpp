#include "freeze_frame.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

namespace crash {

// ---- one processor ----

one_processor::one_processor() {
  ::sched_getaffinity(0, sizeof before_, &before_);
  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET(static_cast<unsigned>(::sched_getcpu()), &here);
  ::sched_setaffinity(0, sizeof here, &here);
}
one_processor::~one_processor() {
  ::sched_setaffinity(0, sizeof before_, &before_);
}

// ---- the puppet ----

puppet::puppet(const std::function<void()>& body) {
  auto* const shared = static_cast<volatile pid_t*>(
      ::mmap(nullptr, sizeof(pid_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (shared == MAP_FAILED) throw std::bad_alloc();
  std::fflush(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::thread([&] {
      ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
      *shared = static_cast<pid_t>(::syscall(SYS_gettid));
      stand_still();
      body();
    }).join();
    for (;;) ::pause();
  }
  while (*shared == 0) ::sched_yield();
  thread_ = *shared;
  ::munmap(const_cast<pid_t*>(shared), sizeof(pid_t));
  wait();
  ::ptrace(PTRACE_SETOPTIONS, thread_, nullptr, PTRACE_O_EXITKILL);
}

void puppet::stand_still() {
  ::raise(SIGSTOP);
}

// To the next stop.
bool puppet::wait() {
  int status = 0;
  while (::waitpid(thread_, &status, __WALL) < 0)
    if (errno != EINTR) throw std::runtime_error("a puppet is gone");
  if (WIFSTOPPED(status)) {
    const int signal = WSTOPSIG(status);
    if (signal != SIGTRAP && signal != SIGSTOP)
      throw std::runtime_error("a puppet got signal " + std::to_string(signal) + " at " +
                               std::to_string(address()));
    stood_still_ = signal == SIGSTOP;  // else a step or a breakpoint
    return true;
  }
  over_ = true;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw std::runtime_error("a puppet ended with status " + std::to_string(status));
  return false;
}

bool puppet::step() {
  if (over_) return false;
  if (::ptrace(PTRACE_SINGLESTEP, thread_, nullptr, nullptr) != 0)
    throw std::runtime_error("PTRACE_SINGLESTEP");
  return wait();
}

bool puppet::run() {
  if (over_) return false;
  if (::ptrace(PTRACE_CONT, thread_, nullptr, nullptr) != 0)
    throw std::runtime_error("PTRACE_CONT");
  return wait();
}

bool puppet::run_to(std::uint64_t address) {
#if defined(__x86_64__)
  auto* const at = reinterpret_cast<void*>(address);
  const long code = ::ptrace(PTRACE_PEEKTEXT, thread_, at, nullptr);
  constexpr long breakpoint = 0xcc;
  ::ptrace(PTRACE_POKETEXT, thread_, at, (code & ~0xffL) | breakpoint);
  const bool stopped = run();
  if (!over_) ::ptrace(PTRACE_POKETEXT, thread_, at, code);
  if (!stopped || stood_still_ || this->address() != address + 1) return false;
  ::ptrace(PTRACE_POKEUSER, thread_, offsetof(user_regs_struct, rip), address);
  return true;
#else
  return address == 0;
#endif
}

std::uint64_t puppet::address() const {
#if defined(__x86_64__)
  return static_cast<std::uint64_t>(
      ::ptrace(PTRACE_PEEKUSER, thread_, offsetof(user_regs_struct, rip), nullptr));
#else
  return 0;
#endif
}

void puppet::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  int status = 0;
  if (!over_)
    while (::waitpid(thread_, &status, __WALL) >= 0 ? WIFSTOPPED(status) : errno == EINTR) {
    }
  while (::waitpid(pid_, &status, __WALL) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  over_ = true;
}

// ---- where it was stopped ----

namespace {

// The innermost name in ipcpp::detail, also of internal linkage; for a lambda, the function it
// stands in. "": something else.
std::string heap_function(std::string_view mangled) {
  if (mangled.find("12participants8attended") != std::string_view::npos) return "attended";
  constexpr std::string_view scope = "5ipcpp6detail";
  const std::size_t at = mangled.find(scope);
  if (at == std::string_view::npos || at > 6 ||
      (mangled.find("W6malloc") == std::string_view::npos &&
       mangled.find("12_GLOBAL__N_1") == std::string_view::npos))
    return "";
  mangled.remove_prefix(at + scope.size());
  for (const std::string_view part : {"W5ipcppW6malloc", "12_GLOBAL__N_1"})
    if (mangled.starts_with(part)) mangled.remove_prefix(part.size());
  std::size_t length = 0;
  const auto [end, bad] = std::from_chars(mangled.data(), mangled.data() + mangled.size(), length);
  if (bad != std::errc{}) return "";
  mangled.remove_prefix(static_cast<std::size_t>(end - mangled.data()));
  return std::string(mangled.substr(0, length));
}

int first_object(dl_phdr_info* info, std::size_t, void* load) {
  *static_cast<std::uint64_t*>(load) = info->dlpi_addr;
  return 1;
}

}  // namespace

stops::stops() {
  ::dl_iterate_phdr(first_object, &load_);
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const std::string image{std::istreambuf_iterator<char>(file), {}};
  const auto read = [&]<class T>(T& to, std::size_t at) {
    if (at + sizeof to > image.size()) throw std::runtime_error("this executable's symbols");
    std::memcpy(&to, image.data() + at, sizeof to);
  };
  Elf64_Ehdr header;
  read(header, 0);
  std::uint64_t last = 0;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    read(segment, header.e_phoff + i * sizeof segment);
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
    first_ = load_ + segment.p_vaddr;
    last = first_ + segment.p_memsz;
  }
  hit_.resize(last - first_);
  which_.resize(last - first_);
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section;
    read(section, header.e_shoff + i * sizeof section);
    if (section.sh_type != SHT_SYMTAB) continue;
    Elf64_Shdr names;
    read(names, header.e_shoff + section.sh_link * sizeof names);
    for (std::size_t at = 0; at + sizeof(Elf64_Sym) <= section.sh_size; at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      read(symbol, section.sh_offset + at);
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_size == 0) continue;
      const std::string_view mangled = image.c_str() + names.sh_offset + symbol.st_name;
      const std::string name = heap_function(mangled);
      if (name.empty()) continue;
      functions_.push_back({name, load_ + symbol.st_value, load_ + symbol.st_value + symbol.st_size,
                            mangled.starts_with("_ZZ")});
      std::fill_n(which_.begin() + static_cast<std::ptrdiff_t>(load_ + symbol.st_value - first_),
                  symbol.st_size, static_cast<std::uint16_t>(functions_.size()));
    }
  }
}

stops::totals& stops::of_all() {
  static totals all;
  return all;
}

void stops::at(std::uint64_t address) {
  if (!within(address)) return;
  hit_[address - first_] = 1;
  ++count_;
  totals& all = of_all();
  all.hit.resize(hit_.size());
  all.hit[address - first_] = 1;
  ++all.count;
}

std::string stops::name_of(std::uint64_t address) const {
  char text[32];
  for (const function& f : functions_)
    if (address >= f.begin && address < f.end) {
      std::snprintf(text, sizeof text, "+0x%llx",
                    static_cast<unsigned long long>(address - f.begin));
      return f.name + text;
    }
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address - load_));
  return text;
}

std::vector<std::uint64_t> stops::entries(std::string_view name) const {
  std::vector<std::uint64_t> found;
  for (const function& f : functions_)
    if (f.name == name && !f.local) found.push_back(f.begin);
  return found;
}

bool stops::inside(std::uint64_t address, std::string_view name) const {
  return within(address) && which_[address - first_] != 0 &&
         functions_[which_[address - first_] - 1].name == name;
}

bool stops::inside(std::uint64_t address, std::initializer_list<std::string_view> names) const {
  return std::any_of(names.begin(), names.end(),
                     [&](std::string_view name) { return inside(address, name); });
}

std::size_t stops::distinct(std::uint64_t begin, std::uint64_t end) const {
  return static_cast<std::size_t>(
      std::count(hit_.begin() + static_cast<std::ptrdiff_t>(begin - first_),
                 hit_.begin() + static_cast<std::ptrdiff_t>(end - first_), 1));
}

std::size_t stops::addresses() const {
  return distinct(first_, first_ + hit_.size());
}

long stops::in(std::string_view name) const {
  long found = -1;
  for (const function& f : functions_)
    if (f.name == name) found = std::max(found, 0L) + static_cast<long>(distinct(f.begin, f.end));
  return found;
}

void stops::print(const std::string& title) const {
  std::printf("%s: %zu stops at %zu addresses\n", title.c_str(), count_, addresses());
  std::fflush(stdout);
}

namespace {

// The instructions of one function that are no padding, each with the line of the source it is of.
struct instruction {
  std::uint64_t at;
  std::string line;  // "file.cpp:12"; "": not known
};

std::vector<instruction> disassembled(std::uint64_t begin, std::uint64_t end) {
  char command[200];
  std::snprintf(command, sizeof command,
                "objdump -d -l --no-show-raw-insn --start-address=0x%llx --stop-address=0x%llx "
                "/proc/%d/exe 2>/dev/null",
                static_cast<unsigned long long>(begin), static_cast<unsigned long long>(end),
                static_cast<int>(::getpid()));
  std::FILE* const listing = ::popen(command, "r");
  if (listing == nullptr) return {};
  std::vector<instruction> found;
  std::string source;
  char line[1024];
  while (std::fgets(line, sizeof line, listing) != nullptr) {
    unsigned long long at = 0;
    int after = 0;
    if (std::sscanf(line, " %llx:%n", &at, &after) == 1 && after != 0 && line[0] == ' ') {
      if (std::strstr(line + after, "nop") == nullptr && std::strstr(line, "int3") == nullptr &&
          std::strstr(line, "cs ") == nullptr)
        found.push_back({at, source});
    } else if (line[0] == '/') {
      source = std::strrchr(line, '/') + 1;
      source.resize(std::min(source.find_first_of(" \n"), source.size()));
    }
  }
  ::pclose(listing);
  return found;
}

}  // namespace

void stops::print_all() {
  const totals& all = of_all();
  if (all.count == 0) return;
  const stops names;  // the table of functions, once more
  struct line {
    std::size_t reached = 0;
    std::size_t instructions = 0;
  };
  struct part {
    std::size_t reached = 0;
    std::size_t instructions = 0;
    std::map<std::string, line> lines;
  };
  std::map<std::string, part> parts;
  for (const function& f : names.functions_) {
    part& p = parts[f.name];
    for (const instruction& one : disassembled(f.begin - names.load_, f.end - names.load_)) {
      const bool hit = all.hit[one.at + names.load_ - names.first_] != 0;
      p.instructions += 1;
      p.reached += hit ? 1 : 0;
      line& l = p.lines[one.line];
      l.instructions += 1;
      l.reached += hit ? 1 : 0;
    }
  }
  std::printf("all heap crash tests together: %zu states\n", all.count);
  std::size_t reached = 0;
  std::size_t instructions = 0;
  for (const auto& [name, p] : parts) {
    if (p.reached == 0) continue;
    reached += p.reached;
    instructions += p.instructions;
    std::printf("  %-26s %5zu of %5zu instructions", name.c_str(), p.reached, p.instructions);
    const char* before = "; not reached: ";
    for (const auto& [source, l] : p.lines) {
      if (l.reached == l.instructions) continue;
      if (l.reached == 0) {
        std::printf("%s%s", before, source.c_str());
      } else {
        std::printf("%s%s (%zu of %zu)", before, source.c_str(), l.instructions - l.reached,
                    l.instructions);
      }
      before = ", ";
    }
    std::printf("\n");
  }
  std::printf("%zu of %zu instructions of these functions were a stop; never entered:", reached,
              instructions);
  for (const auto& [name, p] : parts)
    if (p.reached == 0) std::printf(" %s", name.c_str());
  std::printf("\n");
  std::fflush(stdout);
}

// ---- the deadline ----

namespace {

const char* expected = "";

void too_late(int) {
  (void)!::write(2, expected, std::strlen(expected));
  (void)!::write(2, ": too late\n", 11);
  ::_exit(99);
}

}  // namespace

deadline::deadline(const char* what, unsigned seconds) {
  expected = what;
  std::signal(SIGALRM, too_late);
  ::alarm(seconds);
}
deadline::~deadline() {
  ::alarm(0);
}

}  // namespace crash
