// OrdersWorld: the input of a kill campaign and what must come of it, computed independently of Millrace: orders drawn
// from a seed, and per customer the sum and number of paid ones.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace millrace {

struct OrdersOptions {
  uint64_t seed = 1;
  uint64_t orders = 100'000;
  uint64_t customers = 2'000;
  int partitions = 4;
};

struct Order {
  std::string customer;
  int64_t amount = 0;
  bool paid = true;
  int64_t event_time_ms = 0;
};

struct Total {
  int64_t revenue = 0;
  int64_t orders = 0;
  friend bool operator==(const Total&, const Total&) = default;
};
using Totals = std::unordered_map<std::string, Total>;

// The i-th order; the same for the same options.
Order order_at(const OrdersOptions& options, uint64_t i);
std::string to_json(const Order& order, uint64_t i);
// Totals of orders [first, end).
void add_totals(const OrdersOptions& options, uint64_t first, uint64_t end, Totals& totals);

// Checks rows {"customer_id","revenue","orders"} against totals. each: every running value 1..n of every customer
// exactly once and in order, and each with the right sum; update: strictly growing, the last one exact. Returns "" or
// what is wrong (at most a few lines).
class OutputCheck {
 public:
  OutputCheck(const OrdersOptions& options, bool each);
  void add_row(const std::string& customer, int64_t revenue, int64_t orders);
  std::string finish(const Totals& wanted);
  uint64_t rows() const { return rows_; }

 private:
  void complain(const std::string& what);
  OrdersOptions options_;
  bool each_;
  Totals last_;
  uint64_t rows_ = 0;
  size_t complaints_ = 0;
  std::string problems_;
};

}  // namespace millrace
