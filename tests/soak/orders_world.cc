#include "tests/soak/orders_world.h"

namespace millrace {
namespace {

uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

Order order_at(const OrdersOptions& options, uint64_t i) {
  const uint64_t a = mix(options.seed * 1'000'003 + i);
  const uint64_t b = mix(a);
  Order order;
  order.customer = "c" + std::to_string(a % options.customers);
  order.amount = static_cast<int64_t>(b % 10'000);
  order.paid = (b >> 32) % 10 != 0;
  order.event_time_ms = 1'700'000'000'000 + static_cast<int64_t>(i);
  return order;
}

std::string to_json(const Order& order, uint64_t i) {
  return R"({"order_id":"o)" + std::to_string(i) + R"(","customer_id":")" + order.customer + R"(","amount":)" +
         std::to_string(order.amount) + R"(,"event_time":)" + std::to_string(order.event_time_ms) + R"(,"status":")" +
         (order.paid ? "paid" : "open") + "\"}";
}

void add_totals(const OrdersOptions& options, uint64_t first, uint64_t end, Totals& totals) {
  for (uint64_t i = first; i < end; i++) {
    const Order order = order_at(options, i);
    if (!order.paid) continue;
    Total& total = totals[order.customer];
    total.revenue += order.amount;
    total.orders++;
  }
}

OutputCheck::OutputCheck(const OrdersOptions& options, bool each) : options_(options), each_(each) {}

void OutputCheck::complain(const std::string& what) {
  if (complaints_++ < 5) problems_ += what + "\n";
}

void OutputCheck::add_row(const std::string& customer, int64_t revenue, int64_t orders) {
  rows_++;
  Total& last = last_[customer];
  if (each_ && orders != last.orders + 1)
    complain("customer " + customer + ": order " + std::to_string(orders) + " follows order " +
             std::to_string(last.orders) + (orders <= last.orders ? " (repeated)" : " (lost)"));
  if (!each_ && orders <= last.orders)
    complain("customer " + customer + ": order count " + std::to_string(orders) + " follows " +
             std::to_string(last.orders));
  last = {revenue, orders};
}

std::string OutputCheck::finish(const Totals& wanted) {
  for (const auto& [customer, total] : wanted) {
    const auto found = last_.find(customer);
    if (found == last_.end()) {
      complain("customer " + customer + ": no output");
    } else if (!(found->second == total)) {
      complain("customer " + customer + ": revenue " + std::to_string(found->second.revenue) + " of " +
               std::to_string(found->second.orders) + " orders, wanted " + std::to_string(total.revenue) + " of " +
               std::to_string(total.orders));
    }
  }
  if (last_.size() > wanted.size()) complain("customers that do not exist");
  if (complaints_ > 5) problems_ += "… " + std::to_string(complaints_) + " complaints in all\n";
  return problems_;
}

}  // namespace millrace
