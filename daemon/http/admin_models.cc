// SPDX-License-Identifier: Apache-2.0
// /admin/v1/models and /admin/v1/plugins: what is served, and how to change it.
#include <boost/json.hpp>
#include <charconv>
#include <limits>

#include "control/model_manager.h"
#include "http/admin_json.h"
#include "http/endpoints.h"

namespace engram {
namespace {

namespace json = boost::json;

const char* KindName(engram_plugin_kind kind) {
  return kind == ENGRAM_PLUGIN_BACKBONE ? "backbone" : "tier";
}

// What is known of a model once it is loaded.
void AddEngine(json::object& object, const Engine& engine) {
  const Model& model = engine.model();
  const BackboneInfo& info = model.backbone().info();
  const Engine::Stats stats = engine.stats();
  uint64_t tier_bytes = 0;
  if (model.memory() != nullptr)
    for (const TierTableStats& tier : model.memory()->tier_stats()) tier_bytes += tier.counters.resident_bytes;
  object["device"] = info.device;
  object["weight_type"] = info.weight_type;
  object["max_model_len"] = info.max_positions;
  object["engram_layers"] = json::value_from(info.engram_layers);
  object["memory"] = json::object{{"weights_bytes", info.weight_bytes},
                                  {"tiers_bytes", tier_bytes},
                                  {"kv_bytes", info.kv_capacity_tokens * info.kv_bytes_per_token}};
  object["queued"] = stats.queued;
  object["running"] = stats.running;
  object["kv"] = json::object{{"used_tokens", stats.kv_used_tokens}, {"capacity_tokens", stats.kv_capacity_tokens}};
}

json::object ModelJson(const ServedModel& model) {
  json::array tiers;
  for (const auto& [name, path] : model.spec.tiers) tiers.push_back({{"name", name}, {"path", path.string()}});
  json::object tables;
  for (const auto& [layer, path] : model.spec.tables) tables[std::to_string(layer)] = path.string();
  json::object object{{"name", model.spec.name},
                      {"state", ServedModelStateName(model.state)},
                      {"default", model.is_default},
                      {"directory", model.spec.directory.string()},
                      {"backbone", {{"name", model.spec.backbone_name}, {"path", model.spec.backbone.string()}}},
                      {"tiers", std::move(tiers)},
                      {"tables", std::move(tables)},
                      {"loaded_at", nullptr}};
  if (model.loaded_unix_s != 0) object["loaded_at"] = model.loaded_unix_s;
  if (model.engine != nullptr) AddEngine(object, *model.engine);
  return object;
}

json::array UsersOf(const std::filesystem::path& plugin, const std::vector<ServedModel>& models) {
  json::array users;
  for (const ServedModel& model : models) {
    if (model.spec.backbone == plugin) users.push_back({{"model", model.spec.name}, {"as", model.spec.backbone_name}});
    for (const auto& [name, path] : model.spec.tiers)
      if (path == plugin) users.push_back({{"model", model.spec.name}, {"as", name}});
  }
  return users;
}

json::object PluginsJson(const AdminServices& admin) {
  const std::vector<ServedModel> models = admin.models->List();
  json::array plugins;
  for (const ShelvedPlugin& plugin : admin.plugins->List())
    plugins.push_back({{"kind", KindName(plugin.kind)},
                       {"name", plugin.name},
                       {"version", plugin.version},
                       {"path", plugin.path.string()},
                       {"sha256", plugin.sha256},
                       {"kept_loaded", plugin.is_kept},
                       {"used_by", UsersOf(plugin.path, models)}});
  return {{"plugins", std::move(plugins)}};
}

std::string RequiredString(JsonFields& fields, std::string_view name) {
  std::string text = fields.String(name, "");
  if (text.empty()) fields.Fail(name, "is required");
  return text;
}

// "tables": {"LAYER": "FILE", ..}
void ReadTables(JsonFields& fields, std::map<uint32_t, std::string>& tables) {
  const json::object* object = fields.Object("tables");
  if (object == nullptr) return;
  for (const auto& entry : *object) {
    const std::string key = entry.key();
    const std::string place = "tables." + key;
    uint32_t layer = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), layer);
    if (error != std::errc() || end != key.data() + key.size()) return fields.Fail(place, "is not named by a layer");
    if (!entry.value().is_string()) return fields.Fail(place, "must be a string");
    tables[layer] = entry.value().get_string();
  }
}

ModelManager::ModelChange ReadModelChange(JsonFields& fields) {
  ModelManager::ModelChange change;
  change.directory = RequiredString(fields, "model");
  change.name = fields.String("name", "");
  change.sha256 = ReadSha256(fields, "sha256");
  ReadTables(fields, change.tables);
  return change;
}

}  // namespace

void AddAdminModelEndpoints(Router& router, const EndpointEnvironment& environment) {
  const AdminServices& admin = environment.admin;
  ModelManager* const models = admin.models;
  if (models == nullptr) return;
  router.Add("GET", "/admin/v1/models", Scope::kRead, [models](const Request&) -> Reply {
    json::array list;
    for (const ServedModel& model : models->List()) list.push_back(ModelJson(model));
    return JsonResponse(json::object{{"models", std::move(list)}});
  });
  router.Add("POST", "/admin/v1/models/load", Scope::kOperate, JsonHandler([models](JsonFields& fields) {
               ModelManager::ModelChange change = ReadModelChange(fields);
               if (Status read = fields.Finish(); !read) return ErrorResponse(read.error());
               return Accepted(models->Load(std::move(change)));
             }));
  router.Add("POST", "/admin/v1/models/swap", Scope::kOperate, JsonHandler([models](JsonFields& fields) {
               ModelManager::ModelChange change = ReadModelChange(fields);
               if (Status read = fields.Finish(); !read) return ErrorResponse(read.error());
               return Accepted(models->Swap(std::move(change)));
             }));
  router.Add("POST", "/admin/v1/models/unload", Scope::kOperate, JsonHandler([models](JsonFields& fields) {
               std::string name = RequiredString(fields, "name");
               if (Status read = fields.Finish(); !read) return ErrorResponse(read.error());
               return Accepted(models->Unload(std::move(name)));
             }));
  if (admin.plugins != nullptr) {
    router.Add("GET", "/admin/v1/plugins", Scope::kRead,
               [environment](const Request&) -> Reply { return JsonResponse(PluginsJson(environment.admin)); });
  }
  router.Add("POST", "/admin/v1/plugins/swap", Scope::kOperate, JsonHandler([models](JsonFields& fields) {
               ModelManager::PluginChange change;
               change.name = RequiredString(fields, "name");
               change.path = RequiredString(fields, "path");
               change.sha256 = ReadSha256(fields, "sha256");
               change.model = fields.String("model", "");
               if (Status read = fields.Finish(); !read) return ErrorResponse(read.error());
               return Accepted(models->SwapPlugin(std::move(change)));
             }));
}

}  // namespace engram
