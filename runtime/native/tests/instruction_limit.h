// Operations a second of the instruction that multiplies bytes, from registers and on one core.
#pragma once

double instruction_limit(const char* instruction_set);

// Seconds of this thread's own time, which other programs on the machine add little to.
double processor_s();
