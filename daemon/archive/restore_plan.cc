#include "daemon/archive/restore_plan.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <limits>
#include <map>
#include <set>
#include <tuple>

#include "common/hex.h"

namespace litefs::archive {
namespace {

constexpr uint64_t kUnreachable = std::numeric_limits<uint64_t>::max();

// A position.  Litestream has no links: there, a transaction number is a position.
struct Key {
  ltx::TxId txid = 0;
  Link link = 0;
  auto operator<=>(const Key&) const = default;
};

struct Node {
  uint64_t cost = kUnreachable;
  const ArchiveFile* last = nullptr;  // the file that leads here
  Key from;
  uint32_t epoch = 0;
  int64_t timestamp_ms = 0;
  bool on_line = false;
};

std::string TimeText(int64_t ms) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(ms / 1000)));
}

class Graph {
 public:
  // start: a position that costs nothing, besides the snapshots.
  Graph(std::span<const ArchiveFile> files, std::optional<Key> start) {
    for (const ArchiveFile& file : files) order_.push_back(&file);
    // A file's edges begin below its max_txid, so that all ways to its start come before it.
    std::sort(order_.begin(), order_.end(), [](const ArchiveFile* a, const ArchiveFile* b) {
      return std::tie(a->max_txid, a->min_txid, a->name) <
             std::tie(b->max_txid, b->min_txid, b->name);
    });
    if (start) nodes_[*start].cost = 0;
    for (const ArchiveFile* file : order_) Relax(*file);
    FindLine();
  }

  const std::map<Key, Node>& nodes() const { return nodes_; }
  const std::vector<const ArchiveFile*>& order() const { return order_; }
  static Key End(const ArchiveFile& file) { return {file.max_txid, file.after}; }

  // The cheapest reachable position that file goes on from.
  std::optional<Key> StartOf(const ArchiveFile& file) const {
    if (!file.litestream) {
      const Key key{file.min_txid - 1, file.before};
      const auto node = nodes_.find(key);
      if (node == nodes_.end() || node->second.cost == kUnreachable) return std::nullopt;
      return key;
    }
    std::optional<Key> best;
    uint64_t best_cost = kUnreachable;
    for (auto node = nodes_.lower_bound({file.min_txid - 1, 0});
         node != nodes_.end() && node->first.txid < file.max_txid; ++node) {
      if (node->second.cost >= best_cost) continue;
      best = node->first;
      best_cost = node->second.cost;
    }
    return best;
  }

  std::vector<ArchiveFile> PathTo(Key key) const {
    std::vector<ArchiveFile> path;
    for (const Node* node = &nodes_.at(key); node->last != nullptr;) {
      path.push_back(*node->last);
      if (node->last->is_snapshot()) break;
      node = &nodes_.at(node->from);
    }
    std::reverse(path.begin(), path.end());
    return path;
  }

  std::optional<Key> Newest() const {
    const std::pair<const Key, Node>* newest = nullptr;
    for (const auto& entry : nodes_) {
      if (entry.second.cost == kUnreachable) continue;
      if (newest == nullptr || std::pair(entry.second.epoch, entry.first.txid) >=
                                   std::pair(newest->second.epoch, newest->first.txid)) {
        newest = &entry;
      }
    }
    return newest == nullptr ? std::nullopt : std::make_optional(newest->first);
  }

 private:
  void Relax(const ArchiveFile& file) {
    uint64_t before = 0;
    Key from;
    if (!file.is_snapshot()) {
      const auto start = StartOf(file);
      before = start ? nodes_.at(*start).cost : kUnreachable;
      if (start) from = *start;
    }
    Node& node = nodes_[End(file)];
    node.epoch = std::max(node.epoch, file.epoch);
    node.timestamp_ms = std::max(node.timestamp_ms, file.timestamp_ms);
    if (before == kUnreachable) return;
    const uint64_t cost = before + file.size_bytes + kRequestCostBytes;
    if (cost >= node.cost) return;
    node.cost = cost;
    node.last = &file;
    node.from = from;
  }

  void FindLine() {
    const auto newest = Newest();
    if (!newest) return;
    nodes_[*newest].on_line = true;
    for (auto file = order_.rbegin(); file != order_.rend(); ++file) {
      if ((*file)->litestream) nodes_[End(**file)].on_line = true;
      if (!nodes_[End(**file)].on_line || (*file)->is_snapshot() || (*file)->litestream) continue;
      const auto start = nodes_.find({(*file)->min_txid - 1, (*file)->before});
      if (start != nodes_.end()) start->second.on_line = true;
    }
  }

  std::vector<const ArchiveFile*> order_;
  std::map<Key, Node> nodes_;
};

using Candidate = std::pair<Key, const Node*>;

bool Better(const Candidate& a, const Candidate& b) {
  return std::tuple(a.second->on_line, a.second->epoch, a.first.txid) >
         std::tuple(b.second->on_line, b.second->epoch, b.first.txid);
}

template <typename Condition>
std::optional<Candidate> Choose(const Graph& graph, const Condition& condition) {
  std::optional<Candidate> best;
  for (const auto& [key, node] : graph.nodes()) {
    if (node.cost == kUnreachable || !condition(key, node)) continue;
    const Candidate candidate{key, &node};
    if (!best || Better(candidate, *best)) best = candidate;
  }
  return best;
}

RestorePlan PlanTo(const Graph& graph, const Key& key) {
  RestorePlan plan{.files = graph.PathTo(key), .txid = key.txid};
  for (const ArchiveFile& file : plan.files) plan.size_bytes += file.size_bytes;
  return plan;
}

void AddBundle(const ArchiveFile& bundle, RestorePlan* plan) {
  plan->files.push_back(bundle);
  plan->size_bytes += bundle.size_bytes;
}

absl::StatusOr<RestorePlan> PlanTxId(const Graph& graph, ltx::TxId txid) {
  const auto node = Choose(graph, [&](const Key& key, const Node&) { return key.txid == txid; });
  // A bundle of the line is better than another history's file that happens to end there.
  const ArchiveFile* bundle = nullptr;
  if (!node || !node->second->on_line) {
    for (const ArchiveFile* file : graph.order()) {
      if (!file->bundle || file->min_txid > txid || file->max_txid <= txid) continue;
      if (!file->is_snapshot() && !graph.StartOf(*file)) continue;
      if (bundle == nullptr ||
          std::pair(graph.nodes().at(Graph::End(*file)).on_line, file->epoch) >
              std::pair(graph.nodes().at(Graph::End(*bundle)).on_line, bundle->epoch)) {
        bundle = file;
      }
    }
  }
  if (bundle != nullptr && (!node || graph.nodes().at(Graph::End(*bundle)).on_line)) {
    RestorePlan plan;
    if (!bundle->is_snapshot()) plan = PlanTo(graph, *graph.StartOf(*bundle));
    AddBundle(*bundle, &plan);
    plan.stop_txid = txid;
    plan.txid = txid;
    return plan;
  }
  if (node) return PlanTo(graph, node->first);
  const auto below = Choose(graph, [&](const Key& key, const Node&) { return key.txid < txid; });
  const auto newest = graph.Newest();
  ltx::TxId above = 0;
  for (const auto& [key, at] : graph.nodes()) {
    if (at.cost != kUnreachable && key.txid > txid && (above == 0 || key.txid < above)) {
      above = key.txid;
    }
  }
  return absl::NotFoundError(fmt::format(
      "transaction {} is not in the archive; next to it are {} and {}, the newest is {}",
      Hex16(txid), below ? Hex16(below->first.txid) : "none", above != 0 ? Hex16(above) : "none",
      newest ? Hex16(newest->txid) : "none"));
}

absl::StatusOr<RestorePlan> PlanTime(const Graph& graph, int64_t timestamp_ms) {
  for (const ArchiveFile* file : graph.order()) {
    if (file->timestamp_ms != 0 || !file->litestream) continue;
    return absl::FailedPreconditionError(
        "this store does not tell when its files were put there, nor do their names: restore by "
        "--txid");
  }
  const auto node =
      Choose(graph, [&](const Key&, const Node& at) { return at.timestamp_ms <= timestamp_ms; });
  // The bundle that goes on from there may hold transactions that are not too late.
  for (const ArchiveFile* file : graph.order()) {
    if (!file->bundle || file->timestamp_ms <= timestamp_ms) continue;
    if (!graph.nodes().at(Graph::End(*file)).on_line) continue;
    const bool goes_on =
        node && !file->is_snapshot() && Key{file->min_txid - 1, file->before} == node->first;
    if (!goes_on && (node || !file->is_snapshot())) continue;
    RestorePlan plan;
    if (node) plan = PlanTo(graph, node->first);
    AddBundle(*file, &plan);
    plan.stop_ms = timestamp_ms;
    plan.txid = file->max_txid;
    return plan;
  }
  if (node) return PlanTo(graph, node->first);
  int64_t oldest = std::numeric_limits<int64_t>::max();
  for (const auto& [key, at] : graph.nodes()) {
    if (at.cost != kUnreachable) oldest = std::min(oldest, at.timestamp_ms);
  }
  return absl::NotFoundError(fmt::format("the archive holds nothing as old as {}; it begins at {}",
                                         TimeText(timestamp_ms), TimeText(oldest)));
}

}  // namespace

absl::StatusOr<RestorePlan> PlanRestore(std::span<const ArchiveFile> files,
                                        const RestoreTarget& target) {
  std::vector<ArchiveFile> chosen;
  for (const ArchiveFile& file : files) {
    if (!target.epoch || file.epoch <= *target.epoch) chosen.push_back(file);
  }
  const Graph graph(chosen, std::nullopt);
  const auto newest = graph.Newest();
  if (!newest) return absl::NotFoundError("the archive holds no snapshot to begin from");
  if (target.txid) return PlanTxId(graph, *target.txid);
  if (target.timestamp_ms) return PlanTime(graph, *target.timestamp_ms);
  return PlanTo(graph, *newest);
}

absl::StatusOr<RestorePlan> PlanContinuation(std::span<const ArchiveFile> files, ltx::TxId txid,
                                             Link link) {
  std::vector<ArchiveFile> later;
  for (const ArchiveFile& file : files) {
    if (file.max_txid > txid && !file.is_snapshot()) later.push_back(file);
  }
  const std::vector<ArchiveFile> line = FilesOnLine(files);
  const Key start{txid, link};
  if (line.empty()) return absl::NotFoundError("the archive is empty");
  const Key end = Graph::End(line.back());
  if (end == start) return RestorePlan{.files = {}, .txid = txid};
  const Graph graph(later, start);
  const auto node = graph.nodes().find(end);
  if (node == graph.nodes().end() || node->second.cost == kUnreachable) {
    return absl::NotFoundError(
        fmt::format("nothing leads from {} on to {}", Hex16(txid), Hex16(end.txid)));
  }
  return PlanTo(graph, end);
}

std::vector<ArchiveFile> FilesLeadingTo(std::span<const ArchiveFile> kept,
                                        std::span<const ArchiveFile> files) {
  const Graph among_kept(kept, std::nullopt);
  const Graph whole(files, std::nullopt);
  std::set<std::string> seen;
  for (const ArchiveFile& file : kept) seen.insert(file.name);
  std::vector<ArchiveFile> leading;
  for (const ArchiveFile& file : kept) {
    if (file.is_snapshot() || among_kept.StartOf(file)) continue;
    const std::optional<Key> start = whole.StartOf(file);
    if (!start) continue;
    for (ArchiveFile& step : whole.PathTo(*start)) {
      if (seen.insert(step.name).second) leading.push_back(std::move(step));
    }
  }
  return leading;
}

std::vector<ArchiveFile> FilesOnLine(std::span<const ArchiveFile> files) {
  const Graph graph(files, std::nullopt);
  std::vector<ArchiveFile> line;
  std::set<std::tuple<int, ltx::TxId, ltx::TxId, Link>> seen;
  for (const ArchiveFile* file : graph.order()) {
    if (!graph.nodes().at(Graph::End(*file)).on_line) continue;
    if (!seen.insert({file->level, file->min_txid, file->max_txid, file->before}).second) continue;
    line.push_back(*file);
  }
  return line;
}

}  // namespace litefs::archive
