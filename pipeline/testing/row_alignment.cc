#include "pipeline/testing/row_alignment.h"

#include <algorithm>
#include <deque>
#include <map>

#include "pipeline/testing/test_values.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxTable = 4'000'000;  // cells of the comparison of two ordered lists

bool describes_record(const std::string& name) { return name.starts_with("record."); }

class Aligner {
 public:
  Aligner(const Expectation& expectation, std::vector<Json> found)
      : expectation_(expectation), found_(std::move(found)) {}

  Alignment align() {
    partner_.assign(wanted(), kNoRow);
    taken_.assign(found_.size(), false);
    if (expectation_.kind == Expectation::Kind::kOrdered) {
      match_in_order();
      pair_in_order();
      list_in_order();
    } else {
      match_any();
      pair_nearest();
      list_any();
    }
    for (const AlignedRow& row : result_.rows) {
      const bool extra = row.expected == kNoRow && expectation_.kind == Expectation::Kind::kContains;
      if (!row.matches() && !extra) result_.good = false;
    }
    result_.found = std::move(found_);
    return std::move(result_);
  }

 private:
  size_t wanted() const { return expectation_.rows.size(); }

  // The columns in which a row is not as expected.
  std::vector<std::string> differences(size_t expected, size_t found) const {
    const Json& want = expectation_.rows[expected].columns;
    const Json& have = found_[found];
    std::vector<std::string> names;
    for (const auto& [name, value] : want.items())
      if (!same_value(value, column(have, name), !expectation_.exact)) names.push_back(name);
    // A row that goes away is another thing than one that comes, whatever its columns are.
    if (!want.contains(kRecordDeleted) && have.contains(kRecordDeleted)) names.push_back(kRecordDeleted);
    if (!expectation_.exact) return names;
    for (const auto& [name, value] : have.items())
      if (!describes_record(name) && !want.contains(name)) names.push_back(name);
    return names;
  }
  static const Json& column(const Json& row, const std::string& name) {
    static const Json kNull;
    static const Json kFalse = false;
    const auto at = row.find(name);
    if (at != row.end()) return *at;
    return name == kRecordDeleted ? kFalse : kNull;
  }
  bool match(size_t expected, size_t found) const {
    const Json& have = found_[found];
    for (const auto& [name, value] : expectation_.rows[expected].columns.items())
      if (!same_value(value, column(have, name), !expectation_.exact)) return false;
    return differences(expected, found).empty();
  }

  // A largest matching, by augmenting paths: a row that is expected with few columns must not take the only partner of
  // one that is expected with more.
  void match_any() {
    std::vector<std::vector<size_t>> candidates(wanted());
    for (size_t i = 0; i < wanted(); i++)
      for (size_t k = 0; k < found_.size(); k++)
        if (match(i, k)) candidates[i].push_back(k);
    std::vector<size_t> owner(found_.size(), kNoRow);
    for (size_t start = 0; start < wanted(); start++) augment(start, candidates, owner);
    for (size_t k = 0; k < found_.size(); k++) taken_[k] = owner[k] != kNoRow;
  }
  void augment(size_t start, const std::vector<std::vector<size_t>>& candidates, std::vector<size_t>& owner) {
    std::vector<size_t> reached_from(found_.size(), kNoRow);
    std::deque<size_t> queue = {start};
    while (!queue.empty()) {
      const size_t expected = queue.front();
      queue.pop_front();
      for (size_t k : candidates[expected]) {
        if (reached_from[k] != kNoRow) continue;
        reached_from[k] = expected;
        if (owner[k] == kNoRow) return flip(start, k, reached_from, owner);
        queue.push_back(owner[k]);
      }
    }
  }
  // Along the path from `start` to the free row `last`, everybody takes the row it was reached by.
  void flip(size_t start, size_t last, const std::vector<size_t>& reached_from, std::vector<size_t>& owner) {
    for (size_t k = last;;) {
      const size_t expected = reached_from[k];
      const size_t before = partner_[expected];
      owner[k] = expected;
      partner_[expected] = k;
      if (expected == start) return;
      k = before;
    }
  }

  // Rows that are left on both sides, those that are most alike first.
  void pair_nearest() {
    struct Candidate {
      size_t alike;
      size_t expected;
      size_t found;
    };
    std::vector<Candidate> candidates;
    size_t left = 0, left_found = 0;
    for (size_t k = 0; k < found_.size(); k++) left_found += taken_[k] ? 0 : 1;
    for (size_t i = 0; i < wanted(); i++) {
      if (partner_[i] != kNoRow) continue;
      left++;
      for (size_t k = 0; k < found_.size(); k++) {
        if (taken_[k]) continue;
        const size_t alike = count_alike(i, k);
        if (alike > 0) candidates.push_back({alike, i, k});
      }
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.alike > b.alike; });
    for (const Candidate& candidate : candidates)
      if (partner_[candidate.expected] == kNoRow && !taken_[candidate.found]) pair(candidate.expected, candidate.found);
    if (left != 1 || left_found != 1) return;
    // Nothing else could be meant.
    const size_t i = static_cast<size_t>(std::find(partner_.begin(), partner_.end(), kNoRow) - partner_.begin());
    const size_t k = static_cast<size_t>(std::find(taken_.begin(), taken_.end(), false) - taken_.begin());
    if (i < wanted() && k < found_.size()) pair(i, k);
  }
  size_t count_alike(size_t expected, size_t found) const {
    size_t alike = 0;
    for (const auto& [name, value] : expectation_.rows[expected].columns.items())
      if (!value.is_null() && same_value(value, column(found_[found], name), true)) alike++;
    return alike;
  }
  void pair(size_t expected, size_t found) {
    partner_[expected] = found;
    taken_[found] = true;
  }

  // The longest run of rows that come in the order in which they are expected; position by position if the lists are
  // too long for that.
  void match_in_order() {
    const size_t n = wanted(), m = found_.size();
    if (n * m > kMaxTable) {
      for (size_t i = 0; i < std::min(n, m); i++)
        if (match(i, i)) pair(i, i);
      return;
    }
    std::vector<std::vector<uint32_t>> longest(n + 1, std::vector<uint32_t>(m + 1));
    for (size_t i = n; i-- > 0;)
      for (size_t k = m; k-- > 0;)
        longest[i][k] = match(i, k) ? longest[i + 1][k + 1] + 1 : std::max(longest[i + 1][k], longest[i][k + 1]);
    for (size_t i = 0, k = 0; i < n && k < m;) {
      if (match(i, k)) {
        pair(i++, k++);
      } else if (longest[i + 1][k] >= longest[i][k + 1]) {
        i++;
      } else {
        k++;
      }
    }
  }
  // Between two matches, what is expected and what came belong together one by one.
  void pair_in_order() {
    size_t k = 0;
    for (size_t i = 0; i < wanted(); i++) {
      if (partner_[i] != kNoRow) {
        k = partner_[i] + 1;
      } else if (k < found_.size() && !taken_[k]) {
        pair(i, k++);
      }
    }
  }

  void list(size_t expected, size_t found) {
    AlignedRow row{expected, found, {}};
    if (expected != kNoRow && found != kNoRow) row.differing = differences(expected, found);
    result_.rows.push_back(std::move(row));
  }
  void list_any() {
    for (size_t i = 0; i < wanted(); i++) list(i, partner_[i]);
    for (size_t k = 0; k < found_.size(); k++)
      if (!taken_[k]) list(kNoRow, k);
  }
  void list_in_order() {
    size_t k = 0;
    for (size_t i = 0; i < wanted(); i++) {
      for (; partner_[i] != kNoRow && k < partner_[i]; k++) list(kNoRow, k);
      list(i, partner_[i]);
      if (partner_[i] != kNoRow) k = partner_[i] + 1;
    }
    for (; k < found_.size(); k++) list(kNoRow, k);
  }

  const Expectation& expectation_;
  std::vector<Json> found_;
  std::vector<size_t> partner_;  // by expected row
  std::vector<bool> taken_;      // by found row
  Alignment result_;
};

// The last row of each key, in the order of these last rows, without keys that end deleted.
std::vector<Json> last_rows(std::vector<Json> rows, const std::vector<std::string>& key) {
  std::map<std::string, size_t> last;
  for (size_t i = 0; i < rows.size(); i++) {
    Json values = Json::array();
    for (const std::string& name : key) values.push_back(rows[i].contains(name) ? rows[i][name] : Json());
    last[values.dump()] = i;
  }
  std::vector<size_t> kept;
  for (const auto& [values, index] : last)
    if (!rows[index].contains(kRecordDeleted)) kept.push_back(index);
  std::sort(kept.begin(), kept.end());
  std::vector<Json> result;
  for (size_t index : kept) result.push_back(std::move(rows[index]));
  return result;
}

}  // namespace

Json row_of(const MemoryRow& row) {
  Json json = Json::parse(row.columns);
  if (row.key) json[kRecordKey] = *row.key;
  if (!row.value.empty()) json[kRecordValue] = Json::parse(row.value);
  if (row.timestamp_ms != kNoTime) json[kRecordTimestamp] = row.timestamp_ms;
  if (row.deleted) json[kRecordDeleted] = true;
  return json;
}

Alignment align(const Expectation& expectation, const std::vector<MemoryRow>& rows) {
  std::vector<Json> found;
  for (const MemoryRow& row : rows) found.push_back(row_of(row));
  if (expectation.kind == Expectation::Kind::kLast) found = last_rows(std::move(found), expectation.key);
  if (expectation.kind != Expectation::Kind::kCount) return Aligner(expectation, std::move(found)).align();
  Alignment result;
  for (size_t i = 0; i < found.size(); i++) result.rows.push_back({kNoRow, i, {}});
  result.good = found.size() == expectation.count;
  result.found = std::move(found);
  return result;
}

}  // namespace millrace
