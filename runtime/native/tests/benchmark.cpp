#include <cstdio>
#include "lanner_native.h"
int main() {
  for (size_t i = 0; i < ln_instruction_set_count(); ++i) {
    ln_instruction_set s; ln_instruction_set_get(i, &s);
    printf("%s %d %d %d\n", s.name, s.compiled, s.supported, s.passed);
  }
}
