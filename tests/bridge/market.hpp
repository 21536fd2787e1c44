// No import here, and no type of ipcpp: only what this program wants to say.
#include <memory>
#include <string>

class market {
 public:
  explicit market(const std::string& name);
  ~market();
  void publish(int instrument, double price);
  bool receive(int& instrument, double& price, int patience_ms);  // false: nothing came

 private:
  struct parts;  // what it stands on, known to the bridge only
  std::unique_ptr<parts> parts_;
};
