// SHA-256 of bytes (FIPS 180-4), as hexadecimal digits.
#pragma once

#include <array>
#include <cstdint>
#include <string>

class Sha256 {
 public:
  void add(const void* data, std::size_t size) {
    const auto* bytes = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < size; ++i) add(bytes[i]);
  }
  std::string digits() {
    const std::uint64_t bits = 8 * size_;
    add(0x80);
    while (size_ % 64 != 56) add(0);
    for (int shift = 56; shift >= 0; shift -= 8) add(static_cast<unsigned char>(bits >> shift));
    std::string text;
    for (const std::uint32_t word : state_)
      for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[word >> shift & 15];
    return text;
  }

 private:
  static std::uint32_t rotated(std::uint32_t x, int by) { return x >> by | x << (32 - by); }

  void add(unsigned char byte) {
    block_[size_++ % 64] = byte;
    if (size_ % 64 == 0) mix();
  }
  void mix() {
    std::array<std::uint32_t, 64> w{};
    for (std::size_t i = 0; i < 16; ++i)
      for (std::size_t j = 0; j < 4; ++j) w[i] = w[i] << 8 | block_[4 * i + j];
    for (std::size_t i = 16; i < 64; ++i) {
      const std::uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3) + w[i - 7] +
             (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
    }
    auto s = state_;
    for (std::size_t i = 0; i < 64; ++i) {
      const std::uint32_t e = s[4], a = s[0];
      const std::uint32_t one = s[7] + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) +
                                ((e & s[5]) ^ (~e & s[6])) + constants()[i] + w[i];
      const std::uint32_t two = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) +
                                ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
      s = {one + two, s[0], s[1], s[2], s[3] + one, s[4], s[5], s[6]};
    }
    for (std::size_t i = 0; i < 8; ++i) state_[i] += s[i];
  }
  // The first 32 bits of the fractions of the cube roots of the first 64 primes, by whole numbers.
  static const std::array<std::uint32_t, 64>& constants() {
    static const std::array<std::uint32_t, 64> all = [] {
      std::array<std::uint32_t, 64> found{};
      std::size_t count = 0;
      for (std::uint64_t n = 2; count < 64; ++n) {
        bool is_prime = true;
        for (std::uint64_t d = 2; d * d <= n; ++d) is_prime = is_prime && n % d != 0;
        if (!is_prime) continue;
        // The greatest root with root^3 <= n * 2^96, bit by bit.
        unsigned __int128 root = 0;
        for (int bit = 34; bit >= 0; --bit) {
          const unsigned __int128 next = root | static_cast<unsigned __int128>(1) << bit;
          if (next * next * next <= static_cast<unsigned __int128>(n) << 96) root = next;
        }
        found[count++] = static_cast<std::uint32_t>(root);
      }
      return found;
    }();
    return all;
  }

  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> block_{};
  std::uint64_t size_ = 0;
};
