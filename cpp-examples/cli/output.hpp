// The output of wslink-cli: values as JSON lines on stdout, progress on stderr.

#ifndef WSLINK_CLI_OUTPUT_HPP
#define WSLINK_CLI_OUTPUT_HPP

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include <openssl/evp.h>

#include <wslink.hpp>

#include "failure.hpp"

#ifdef _WIN32
#include <io.h>
#else
#include <unistd.h>
#endif

namespace cli {

// The digest as 64 hexadecimal digits.
inline std::string sha256(wslink::bytes_view data) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(data.data(), data.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
    throw failure(exit_internal, "OpenSSL has no SHA-256");
  }
  std::string hex;
  for (unsigned i = 0; i < size; ++i) {
    hex += "0123456789abcdef"[digest[i] >> 4];
    hex += "0123456789abcdef"[digest[i] & 15];
  }
  return hex;
}

// Text as a JSON string, including the quotes.
inline std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      constexpr const char *digits = "0123456789abcdef";
      out += std::string("\\u00") + digits[c >> 4] + digits[c & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

// Writes values as lossless JSON: in the tagged style of the library, but with the size and digest of binary data in
// place of the data, which can be saved to files.
class value_writer {
public:
  // With a folder, binary data is saved there. The folder is created.
  explicit value_writer(std::string folder) : folder_(std::move(folder)) {
    if (folder_.empty())
      return;
    std::error_code failed;
    std::filesystem::create_directories(folder_, failed);
    if (failed)
      throw failure(exit_file, "cannot make the folder " + folder_ + ": " + failed.message());
  }

  std::string text(wslink::value v) {
    std::string out;
    write(v, out);
    return out;
  }

private:
  void write(wslink::value v, std::string &out) {
    switch (v.kind()) {
    case wslink::kind::array: {
      out += '[';
      const char *separator = "";
      for (const wslink::value element : v) {
        out += separator;
        write(element, out);
        separator = ", ";
      }
      out += ']';
      break;
    }
    case wslink::kind::map:
      write_map(v, out);
      break;
    case wslink::kind::bytes:
      write_bytes(v.get<wslink::bytes_view>(), out);
      break;
    default:
      out += v.to_json(wslink::json_style::tagged).text();
    }
  }

  // Keys in JSON are strings; maps with other keys become lists of pairs.
  void write_map(wslink::value v, std::string &out) {
    bool strings = true;
    for (const auto &pair : v.items())
      strings = strings && pair.key.is_string();
    const char *separator = "";
    out += strings ? "{" : "{\"$map\": [";
    for (const auto &pair : v.items()) {
      out += separator;
      if (!strings)
        out += '[';
      write(pair.key, out);
      out += strings ? ": " : ", ";
      write(pair.value, out);
      if (!strings)
        out += ']';
      separator = ", ";
    }
    out += strings ? "}" : "]}";
  }

  void write_bytes(wslink::bytes_view data, std::string &out) {
    out += "{\"$bytes\": {\"len\": " + std::to_string(data.size()) + ", \"sha256\": \"" + sha256(data) + '"';
    if (!folder_.empty())
      out += ", \"file\": " + json_string(save(data));
    out += "}}";
  }

  std::string save(wslink::bytes_view data) {
    std::string path;
    do { // find a free name, so that nothing is overwritten
      std::array<char, 32> name{};
      std::snprintf(name.data(), name.size(), "bytes-%04u.%s", ++saved_, extension(data));
      path = (std::filesystem::path(folder_) / name.data()).string();
    } while (std::filesystem::exists(path));
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char *>(data.data()), static_cast<std::streamsize>(data.size()));
    file.close();
    if (file.fail())
      throw failure(exit_file, "cannot write " + path);
    return path;
  }

  // Detected from the first bytes, for image viewers.
  static const char *extension(wslink::bytes_view data) {
    const std::string_view start = data.sub(0, 4).as_text();
    if (start == "\x89PNG")
      return "png";
    if (start.substr(0, 3) == "\xff\xd8\xff")
      return "jpg";
    return "bin";
  }

  std::string folder_;
  unsigned saved_ = 0;
};

// Prints one line on stdout and flushes it, because the reader of a pipe may wait for it.
inline void print_line(const std::string &line) {
  if (std::printf("%s\n", line.c_str()) < 0 || std::fflush(stdout) != 0) {
    throw failure(exit_file, "cannot write to stdout");
  }
}

// A progress bar on stderr for large messages, if stderr is a terminal.
class progress_bar {
public:
  explicit progress_bar(bool wanted) : shown_(wanted && stderr_is_terminal()) {}
  progress_bar(const progress_bar &) = delete;
  progress_bar &operator=(const progress_bar &) = delete;
  ~progress_bar() { clear(); }

  bool is_shown() const { return shown_; }

  void show(const wslink::progress &now) {
    constexpr int width = 30;
    constexpr double mega = 1e6;
    const double part = now.total ? static_cast<double>(now.bytes) / static_cast<double>(now.total) : 1.0;
    const std::string bar(static_cast<std::size_t>(part * width), '#');
    std::fprintf(stderr, "\r%s [%-*s] %3d%% of %.1f MB", now.incoming ? "down" : "up  ", width, bar.c_str(),
                 static_cast<int>(part * 100), static_cast<double>(now.total) / mega);
    drawn_ = true;
    if (now.bytes >= now.total)
      clear();
  }

  // Erases the bar before other output.
  void clear() {
    if (drawn_)
      std::fprintf(stderr, "\r%60s\r", "");
    drawn_ = false;
  }

private:
  static bool stderr_is_terminal() {
#ifdef _WIN32
    return _isatty(_fileno(stderr)) != 0;
#else
    return isatty(STDERR_FILENO) != 0;
#endif
  }

  bool shown_;
  bool drawn_ = false;
};

} // namespace cli

#endif // WSLINK_CLI_OUTPUT_HPP
