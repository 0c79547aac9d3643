// Gives back what a vector needed at its peak. std::vector::shrink_to_fit does nothing in libstdc++ when it
// is compiled without exceptions.
#pragma once

#include <iterator>
#include <vector>

namespace millrace::ledger {

template <typename T>
void shrinkToSize(std::vector<T>& vector) {
  std::vector<T>(std::make_move_iterator(vector.begin()), std::make_move_iterator(vector.end())).swap(vector);
}

}  // namespace millrace::ledger
