// SPDX-License-Identifier: Apache-2.0
// The parts of `engramctl key`. One thread.
#pragma once

#include <boost/json/value.hpp>

#include "access/access_store.h"
#include "core/result.h"
#include "engramctl/arguments.h"

namespace engram {

// What the options of key create say; kInvalidArgument names the one at fault.
Result<NewKey> NewKeyOf(const Arguments& arguments);

// Prints keys, or one that was created ("key" has it): the key alone on standard output, the rest on standard error.
void ShowKeys(const boost::json::array& keys);
void ShowCreated(const boost::json::object& created);

// key_hash.cc
int RunKeyHash(const Arguments& arguments);
// keys_offline.cc: create, list and revoke in a state directory that no daemon uses.
int RunKeyOffline(const Arguments& arguments);

}  // namespace engram
