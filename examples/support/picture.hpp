// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_PICTURE_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_PICTURE_HPP

#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace example {

/// A string as gnuplot reads it: between single quotes nothing but the quote is special.
inline std::string quoted(const std::string& text) {
  std::string in_quotes = "'";
  for (const char c : text) in_quotes += c == '\'' ? std::string("''") : std::string(1, c);
  return in_quotes + "'";
}

/// A picture that gnuplot draws. Its script is sent through a pipe, so that no name of a file is
/// ever seen by a shell.
class Picture {
 public:
  using Rows = std::vector<std::vector<double>>;

  Picture(const std::string& title, const std::string& x_label, const std::string& y_label) {
    set("title " + quoted(title));
    set("xlabel " + quoted(x_label));
    set("ylabel " + quoted(y_label));
    set("border 3");
    set("tics nomirror");
    set("grid ytics lc rgb '#d0d0d0' lt 1");
  }

  void set(const std::string& what) { script_ += "set " + what + "\n"; }

  /// Rows of numbers that curves can be drawn of, under the name $rows.
  void rows(const Rows& rows) {
    std::ostringstream block;
    block << "$rows << end_of_rows\n";
    for (const std::vector<double>& row : rows) {
      for (const double number : row) block << number << " ";
      block << "\n";
    }
    script_ += block.str() + "end_of_rows\n";
  }

  /// Something drawn of $rows: `how` says which columns and in which style.
  void draw(const std::string& how, const std::string& title) {
    drawn_ += (drawn_.empty() ? "plot " : ", ") + ("$rows " + how + " title " + quoted(title));
  }

  /// Writes the SVG; where there is no gnuplot, says so and how to get it.
  /// @throws std::runtime_error when gnuplot cannot draw or cannot write there
  void save(const std::string& path) const {
    if (!has_gnuplot()) {
      std::fprintf(stderr,
                   "no %s: gnuplot, which draws it, was not found (Debian, Ubuntu: apt-get install "
                   "gnuplot-nox; macOS: brew install gnuplot)\n",
                   path.c_str());
      return;
    }
    for (const char c : path) {
      if (static_cast<unsigned char>(c) < ' ') {
        throw std::runtime_error("cannot save a picture: its name has a control character");
      }
    }
    // An absolute name cannot begin with | or ~, which gnuplot takes for a command and a home.
    const std::string absolute = std::filesystem::absolute(path).string();
    run("set terminal svg size 860,520 noenhanced font 'sans-serif,13' background rgb 'white'\n"
        "set output " +
        quoted(absolute) + "\n" + script_ + drawn_ + "\n");
    std::printf("saved %s\n", path.c_str());
  }

 private:
#if defined(_WIN32)
  static constexpr const char* look = "gnuplot --version >NUL 2>&1";
  static std::FILE* open_pipe() {
    return _popen("gnuplot", "w");
  }
  static int close_pipe(std::FILE* pipe) {
    return _pclose(pipe);
  }
#else
  static constexpr const char* look = "gnuplot --version >/dev/null 2>&1";
  static std::FILE* open_pipe() {
    return popen("gnuplot", "w");
  }
  static int close_pipe(std::FILE* pipe) {
    return pclose(pipe);
  }
#endif

  static bool has_gnuplot() {
    return std::system(look) == 0;
  }

  static void run(const std::string& script) {
#if defined(SIGPIPE)
    std::signal(SIGPIPE, SIG_IGN);  // a gnuplot that gives up early is an error, not the end
#endif
    std::fflush(stdout);
    std::FILE* const pipe = open_pipe();
    if (pipe == nullptr) throw std::runtime_error("cannot start gnuplot");
    const bool sent = std::fwrite(script.data(), 1, script.size(), pipe) == script.size();
    if (close_pipe(pipe) != 0 || !sent) throw std::runtime_error("gnuplot could not draw");
  }

  std::string script_;
  std::string drawn_;
};

/// Colours that colour-blind eyes tell apart (Okabe and Ito's palette).
inline std::string colour(std::size_t number) {
  constexpr const char* colours[] = {"#0072B2", "#E69F00", "#009E73", "#D55E00",
                                     "#56B4E9", "#CC79A7", "#000000", "#808080"};
  return std::string("lc rgb '") + colours[number % 8] + "'";
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_PICTURE_HPP
