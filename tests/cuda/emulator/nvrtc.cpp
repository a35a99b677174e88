// NVRTC's calls that Suture makes: the source goes to g++ behind the shim, and the machine code is
// the shared library that g++ gives.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "image.h"

#define API extern "C" __attribute__((visibility("default"))) int

namespace {

enum Code { SUCCESS = 0, INVALID_INPUT = 3, INVALID_OPTION = 5, COMPILATION = 6, INTERNAL = 11 };

constexpr int ARCHITECTURES[] = {80, 90, 100};

struct Program {
  std::string source, name, log, image;
};

std::string readFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// A folder that is removed with all in it.
struct Folder {
  char path[32] = "/tmp/suture-nvrtc-XXXXXX";
  bool made = mkdtemp(path) != nullptr;
  std::string at(const char* name) const { return std::string(path) + "/" + name; }
  ~Folder() {
    for (const char* name : {"kernel.cu", "kernel.so", "log"}) unlink(at(name).c_str());
    rmdir(path);
  }
};

}  // namespace

API nvrtcVersion(int* major, int* minor) {
  *major = 13;
  *minor = 0;
  return SUCCESS;
}

extern "C" __attribute__((visibility("default"))) const char* nvrtcGetErrorString(int code) {
  switch (code) {
    case SUCCESS: return "NVRTC_SUCCESS";
    case INVALID_INPUT: return "NVRTC_ERROR_INVALID_INPUT";
    case INVALID_OPTION: return "NVRTC_ERROR_INVALID_OPTION";
    case COMPILATION: return "NVRTC_ERROR_COMPILATION";
    default: return "NVRTC_ERROR_INTERNAL_ERROR";
  }
}

API nvrtcGetNumSupportedArchs(int* count) {
  *count = std::size(ARCHITECTURES);
  return SUCCESS;
}

API nvrtcGetSupportedArchs(int* architectures) {
  std::memcpy(architectures, ARCHITECTURES, sizeof ARCHITECTURES);
  return SUCCESS;
}

API nvrtcCreateProgram(Program** program, const char* source, const char* name, int headers,
                       const char* const*, const char* const*) {
  if (headers != 0) return INVALID_INPUT;
  *program = new Program{source, name, "", ""};
  return SUCCESS;
}

API nvrtcCompileProgram(Program* program, int count, const char* const* options) {
  for (int i = 0; i < count; i++) {
    const std::string option = options[i];
    if (option.rfind("--gpu-architecture=", 0) == 0 || option == "--std=c++17") continue;
    if (option == "--ptxas-options=-v" || option == "--diag-suppress=177") continue;
    program->log = "unrecognized option " + option;
    return INVALID_OPTION;
  }
  Folder folder;
  if (!folder.made) return INTERNAL;
  std::ofstream(folder.at("kernel.cu")) << "#line 1 \"" << program->name << "\"\n"
                                        << program->source;
  // Products and sums may be fused, as NVRTC does.
  const std::string command =
      "g++ -x c++ -std=c++17 -O1 -march=x86-64-v3 -fPIC -shared -fvisibility=hidden "
      "-fno-exceptions -fno-rtti -fno-asynchronous-unwind-tables -DSUTURE_EMULATED -include " SUTURE_SHIM " -o " +
      folder.at("kernel.so") + " " + folder.at("kernel.cu") + " 2>" + folder.at("log");
  const int status = std::system(command.c_str());
  program->log = readFile(folder.at("log"));
  if (status != 0) return COMPILATION;
  const std::string library = readFile(folder.at("kernel.so"));
  suture::ImageHeader header;
  std::memcpy(header.magic, suture::IMAGE_MAGIC, sizeof header.magic);
  header.bytes = library.size();
  program->image.assign(reinterpret_cast<const char*>(&header), sizeof header);
  program->image += library;
  return SUCCESS;
}

API nvrtcGetProgramLogSize(const Program* program, size_t* bytes) {
  *bytes = program->log.size() + 1;
  return SUCCESS;
}

API nvrtcGetProgramLog(const Program* program, char* log) {
  std::memcpy(log, program->log.c_str(), program->log.size() + 1);
  return SUCCESS;
}

API nvrtcGetCUBINSize(const Program* program, size_t* bytes) {
  *bytes = program->image.size();
  return SUCCESS;
}

API nvrtcGetCUBIN(const Program* program, char* image) {
  std::memcpy(image, program->image.data(), program->image.size());
  return SUCCESS;
}

API nvrtcGetPTXSize(const Program* program, size_t* bytes) {
  return nvrtcGetCUBINSize(program, bytes);
}

API nvrtcGetPTX(const Program* program, char* image) { return nvrtcGetCUBIN(program, image); }

API nvrtcDestroyProgram(Program** program) {
  delete *program;
  *program = nullptr;
  return SUCCESS;
}
