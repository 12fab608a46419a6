// Checks of the test programs: each prints what failed, and the program ends with 1 then.
#pragma once

#include <cstdio>
#include <string>

inline int failures = 0;

#define CHECK(condition, ...)                                        \
  do {                                                               \
    if (!(condition)) {                                              \
      ++failures;                                                    \
      std::printf("%s:%d: %s: ", __FILE__, __LINE__, #condition);    \
      std::printf(__VA_ARGS__);                                      \
      std::printf("\n");                                             \
    }                                                                \
  } while (false)

inline int finish(const char* name) {
  std::printf("%s: %s\n", name, failures ? "FAILED" : "passed");
  return failures ? 1 : 0;
}
