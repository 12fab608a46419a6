// The exceptions inside the library; api.cpp turns them into statuses and texts.
#pragma once

#include <stdexcept>
#include <string>

#include "lanner_native.h"

namespace lanner {

class Error : public std::runtime_error {
 public:
  Error(ln_status status, const std::string& what) : std::runtime_error(what), status_(status) {}
  ln_status status() const { return status_; }

 private:
  ln_status status_;
};

[[noreturn]] inline void invalid_model(const std::string& what) {
  throw Error(LN_INVALID_MODEL, what);
}
[[noreturn]] inline void invalid_input(const std::string& what) {
  throw Error(LN_INVALID_INPUT, what);
}

}  // namespace lanner
