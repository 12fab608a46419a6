// The encoder once more, in double precision and as simply as can be, to hold plain C++ against.
#pragma once

#include <vector>

#include "random_model.h"

// Output rows of one sequence.
std::vector<double> reference(const lanner::RandomModel& model, const std::vector<std::int32_t>& ids,
                              const std::vector<std::int32_t>& type_ids);
