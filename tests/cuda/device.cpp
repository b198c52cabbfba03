// A CUDA driver, runtime, compiler and BLAS whose device is the processor: what CuPy calls, and no more.
//
// Kernels are compiled by g++ and run when they are launched, so streams and events have nothing to wait for.  Memory
// is the host's, but it is counted and limited, filled with rubbish when it is handed out, and belongs to one of
// several devices.  A stream that is captured keeps what it is given, and a graph carries it out.
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_profiler_api.h>
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))
#define DONE return cudaSuccess

static std::string setting(const char* name, const char* otherwise) {
  const char* found = getenv(name);
  return found ? found : otherwise;
}
static const int DEVICES = std::stoi(setting("CUDA_ON_CPU_DEVICES", "2"));
static const size_t MEMORY = std::stoull(setting("CUDA_ON_CPU_MEMORY", "4294967296"));
static std::mutex lock;

// What was asked of the device, for whoever counts.
enum { LAUNCHES, PRODUCTS, TO_DEVICE, TO_HOST, ON_DEVICE, WAITS, ALLOCATIONS, COMPILATIONS, GRAPHS, COUNTS };
static long counts[COUNTS];
API long* device_counts() { return counts; }

// -------------------------------------------------------------------------------------------- capture

using Action = std::function<void()>;
struct Graph { std::vector<Action> actions; };
static Graph* capturing = nullptr;
static cudaStream_t captured = nullptr;

static bool is_kept(cudaStream_t stream, const Action& action) {
  if (!capturing || stream != captured) return false;
  capturing->actions.push_back(action);
  return true;
}
API cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (capturing) return cudaErrorStreamCaptureUnsupported;
  capturing = new Graph, captured = stream;
  DONE;
}
API cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  *graph = (cudaGraph_t)capturing, capturing = nullptr, captured = nullptr;
  DONE;
}
API cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = capturing && stream == captured ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  DONE;
}
API cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  *made = (cudaGraphExec_t) new Graph(*(Graph*)graph);
  DONE;
}
API cudaError_t cudaGraphDestroy(cudaGraph_t graph) { delete (Graph*)graph; DONE; }
API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) { delete (Graph*)graph; DONE; }
API cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { DONE; }
API cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t) {
  counts[GRAPHS]++;
  for (auto& action : ((Graph*)graph)->actions) action();
  DONE;
}

// -------------------------------------------------------------------------------------------- devices

static thread_local int current = 0;
static thread_local cudaError_t last = cudaSuccess;
static cudaError_t failed(cudaError_t error) { return last = error; }

API const char* cudaGetErrorName(cudaError_t e) {
  return e == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : e == cudaErrorNoDevice ? "cudaErrorNoDevice" : "cudaError";
}
API const char* cudaGetErrorString(cudaError_t e) {
  return e == cudaErrorMemoryAllocation ? "out of memory" : e == cudaErrorNoDevice ? "no CUDA-capable device is detected" : "an error";
}
API cudaError_t cudaGetLastError() { auto error = last; last = cudaSuccess; return error; }
API cudaError_t cudaDriverGetVersion(int* version) { *version = CUDA_VERSION; DONE; }
API cudaError_t cudaRuntimeGetVersion(int* version) { *version = CUDA_VERSION; DONE; }
API cudaError_t cudaGetDevice(int* device) { *device = current; DONE; }
API cudaError_t cudaGetDeviceCount(int* count) { *count = DEVICES; return DEVICES ? cudaSuccess : failed(cudaErrorNoDevice); }
API cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= DEVICES) return failed(cudaErrorInvalidDevice);
  current = device;
  DONE;
}
API cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr what, int) {
  static const std::map<int, int> known = {
      {cudaDevAttrComputeCapabilityMajor, 9}, {cudaDevAttrMultiProcessorCount, 4}, {cudaDevAttrMaxThreadsPerBlock, 1024},
      {cudaDevAttrWarpSize, 32}, {cudaDevAttrMaxSharedMemoryPerBlock, 49152}, {cudaDevAttrMaxGridDimX, 2147483647}};
  auto found = known.find(what);
  *value = found == known.end() ? 0 : found->second;
  DONE;
}
API cudaError_t cudaDeviceGetPCIBusId(char* name, int size, int device) { snprintf(name, size, "0000:%02x:00.0", device); DONE; }
API cudaError_t cudaDeviceGetByPCIBusId(int* device, const char* name) { *device = std::stoi(name + 5, nullptr, 16); DONE; }
API cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  memset(p, 0, sizeof *p);
  strcpy(p->name, "the processor, as a stand-in");
  p->major = 9, p->multiProcessorCount = 4, p->warpSize = 32, p->totalGlobalMem = MEMORY, p->sharedMemPerBlock = 49152;
  p->maxThreadsPerBlock = 1024, p->maxThreadsPerMultiProcessor = 2048, p->maxGridSize[0] = 2147483647;
  DONE;
}
API cudaError_t cudaDeviceSynchronize() { counts[WAITS]++; DONE; }
API cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) { *can = 0; DONE; }
API cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) { return failed(cudaErrorPeerAccessUnsupported); }
API cudaError_t cudaDeviceDisablePeerAccess(int) { return failed(cudaErrorPeerAccessUnsupported); }
API cudaError_t cudaProfilerStart() { DONE; }
API cudaError_t cudaProfilerStop() { DONE; }

// -------------------------------------------------------------------------------------------- memory

struct Block { size_t size; int device; };
static std::map<char*, Block> blocks;
static size_t in_use[64];

static void* lines(size_t size) { return aligned_alloc(512, (size + 511) / 512 * 512); }

API cudaError_t cudaMalloc(void** place, size_t size) {
  std::lock_guard<std::mutex> guard(lock);
  counts[ALLOCATIONS]++;
  *place = in_use[current] + size > MEMORY ? nullptr : lines(size);
  if (!*place) return failed(cudaErrorMemoryAllocation);
  memset(*place, 0xCD, size);
  blocks[(char*)*place] = {size, current};
  in_use[current] += size;
  DONE;
}
API cudaError_t cudaFree(void* place) {
  if (!place) DONE;
  std::lock_guard<std::mutex> guard(lock);
  auto found = blocks.find((char*)place);
  if (found == blocks.end()) return failed(cudaErrorInvalidValue);
  memset(place, 0xDD, found->second.size);
  in_use[found->second.device] -= found->second.size;
  blocks.erase(found);
  free(place);
  DONE;
}
API cudaError_t cudaHostAlloc(void** place, size_t size, unsigned) { *place = lines(size); DONE; }
API cudaError_t cudaFreeHost(void* place) { free(place); DONE; }
API cudaError_t cudaMemGetInfo(size_t* left, size_t* total) { *total = MEMORY, *left = MEMORY - in_use[current]; DONE; }
API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* found, const void* where) {
  memset(found, 0, sizeof *found);
  found->type = cudaMemoryTypeUnregistered, found->device = -2, found->hostPointer = (void*)where;
  std::lock_guard<std::mutex> guard(lock);
  auto after = blocks.upper_bound((char*)where);
  if (after == blocks.begin() || (char*)where >= std::prev(after)->first + std::prev(after)->second.size) DONE;
  found->type = cudaMemoryTypeDevice, found->device = std::prev(after)->second.device, found->devicePointer = (void*)where;
  DONE;
}
API cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind, cudaStream_t stream) {
  if (is_kept(stream, [=] { cudaMemcpyAsync(to, from, size, kind, nullptr); })) DONE;
  counts[kind == cudaMemcpyHostToDevice ? TO_DEVICE : kind == cudaMemcpyDeviceToHost ? TO_HOST : ON_DEVICE]++;
  memmove(to, from, size);
  DONE;
}
API cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, size, kind, nullptr);
}
API cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t size, cudaStream_t stream) {
  return cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, stream);
}
API cudaError_t cudaMemcpyPeer(void* to, int, const void* from, int, size_t size) {
  return cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, nullptr);
}
API cudaError_t cudaMemsetAsync(void* place, int value, size_t size, cudaStream_t stream) {
  if (is_kept(stream, [=] { cudaMemsetAsync(place, value, size, nullptr); })) DONE;
  counts[ON_DEVICE]++;
  memset(place, value, size);
  DONE;
}
API cudaError_t cudaMemset(void* place, int value, size_t size) { return cudaMemsetAsync(place, value, size, nullptr); }

// -------------------------------------------------------------------------------------------- streams and events

struct Stream { int device; };
API cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { *stream = (cudaStream_t) new Stream{current}; DONE; }
API cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, 0); }
API cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) { return cudaStreamCreateWithFlags(stream, 0); }
API cudaError_t cudaStreamDestroy(cudaStream_t stream) { delete (Stream*)stream; DONE; }
API cudaError_t cudaStreamGetFlags(cudaStream_t, unsigned* flags) { *flags = 0; DONE; }
API cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) { *priority = 0; DONE; }
API cudaError_t cudaStreamSynchronize(cudaStream_t) { counts[WAITS]++; DONE; }
API cudaError_t cudaStreamQuery(cudaStream_t) { DONE; }
API cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { DONE; }
API cudaError_t cudaStreamAddCallback(cudaStream_t s, cudaStreamCallback_t f, void* data, unsigned) { f(s, cudaSuccess, data); DONE; }
API cudaError_t cudaLaunchHostFunc(cudaStream_t, cudaHostFn_t function, void* data) { function(data); DONE; }

using Clock = std::chrono::steady_clock;
struct Event { Clock::time_point when; };
API cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { *event = (cudaEvent_t) new Event; DONE; }
API cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
API cudaError_t cudaEventDestroy(cudaEvent_t event) { delete (Event*)event; DONE; }
API cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) { ((Event*)event)->when = Clock::now(); DONE; }
API cudaError_t cudaEventQuery(cudaEvent_t) { DONE; }
API cudaError_t cudaEventSynchronize(cudaEvent_t) { counts[WAITS]++; DONE; }
API cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t a, cudaEvent_t b) {
  *milliseconds = std::chrono::duration<float, std::milli>(((Event*)b)->when - ((Event*)a)->when).count();
  DONE;
}

// -------------------------------------------------------------------------------------------- the compiler

enum { COMPILED = 0, NOT_COMPILED = 6 };  // nvrtcResult
struct Source { std::string text, log, image; };
API const char* nvrtcGetErrorString(int) { return "NVRTC_ERROR_COMPILATION"; }
API int nvrtcVersion(int* major, int* minor) { *major = CUDA_VERSION / 1000, *minor = CUDA_VERSION % 1000 / 10; return COMPILED; }
API int nvrtcGetNumSupportedArchs(int* count) { *count = 1; return COMPILED; }
API int nvrtcGetSupportedArchs(int* archs) { *archs = 90; return COMPILED; }
API int nvrtcCreateProgram(Source** made, const char* text, const char*, int, const char**, const char**) {
  *made = new Source{text, "", ""};
  return COMPILED;
}
API int nvrtcDestroyProgram(Source** source) { delete *source; *source = nullptr; return COMPILED; }

// Each kernel gets a function that calls it with the addresses of its arguments; "image" is where the library lies.
API int nvrtcCompileProgram(Source* source, int count, const char** options) {
  __sync_fetch_and_add(&counts[COMPILATIONS], 1);
  static const std::regex kernel(R"(__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\()");
  static const std::regex dynamic(R"(extern\s+__shared__\s+([\w ]+?)\s+(\w+)\[\];)");
  const std::string home = setting("CUDA_ON_CPU_HOME", "."), &text = source->text;
  std::string flags = setting("CUDA_ON_CPU_FLAGS", "");
  for (int i = 0; i < count; i++)
    if (!strncmp(options[i], "-I", 2) || !strncmp(options[i], "-D", 2)) flags += std::string(" '") + options[i] + "'";
  std::string whole = std::regex_replace(text, dynamic, "$1* $2 = ($1*)dynamic_memory();");
  whole += "\nextern \"C\" void* own_position() { return &position; }\n";
  for (std::sregex_iterator i(text.begin(), text.end(), kernel), end; i != end; ++i) {
    const std::string name = (*i)[1];
    whole += "extern \"C\" void call_" + name + "(void** p) { call(&" + name + ", p); }\n";
    whole += "extern \"C\" const size_t* sizes_" + name + "() { return sizes(&" + name + "); }\n";
  }
  // A kernel whose threads stride over all elements and never meet may as well have one thread.
  bool alone = text.find("CUPY_FOR(") != std::string::npos;
  for (auto word : {"__sync", "__shfl", "__shared__", "threadIdx"}) alone &= text.find(word) == std::string::npos;

  std::ostringstream base;
  base << home << "/kernels/" << std::hex << std::hash<std::string>()(whole + flags);
  const std::string library = base.str() + ".so", mine = base.str() + "." + std::to_string(getpid());
  if (access(library.c_str(), R_OK)) {
    std::ofstream(mine + ".cpp") << whole;
    const std::string command = "g++ -shared -include " + home + "/kernel.h " + flags + " " + mine + ".cpp -o " + mine + ".so -L" + home + "/lib -lcuda >" + mine + ".log 2>&1";
    bool wrong = system(command.c_str());
    std::ifstream log(mine + ".log");
    source->log.assign(std::istreambuf_iterator<char>(log), {});
    if (!wrong) rename((mine + ".so").c_str(), library.c_str());
    for (auto end : {".cpp", ".log"}) unlink((mine + end).c_str());
    if (wrong) return NOT_COMPILED;
  }
  source->image = (alone ? "1:" : "n:") + library;
  return COMPILED;
}
static int text_size(const std::string& text, size_t* size) { *size = text.size() + 1; return COMPILED; }
static int text_in(const std::string& text, char* place) { strcpy(place, text.c_str()); return COMPILED; }
API int nvrtcGetCUBINSize(Source* source, size_t* size) { return text_size(source->image, size); }
API int nvrtcGetCUBIN(Source* source, char* place) { return text_in(source->image, place); }
API int nvrtcGetPTXSize(Source* source, size_t* size) { return text_size(source->image, size); }
API int nvrtcGetPTX(Source* source, char* place) { return text_in(source->image, place); }
API int nvrtcGetProgramLogSize(Source* source, size_t* size) { return text_size(source->log, size); }
API int nvrtcGetProgramLog(Source* source, char* place) { return text_in(source->log, place); }
API int nvrtcAddNameExpression(Source*, const char*) { return COMPILED; }
API int nvrtcGetLoweredName(Source*, const char* name, const char** found) { *found = name; return COMPILED; }

// -------------------------------------------------------------------------------------------- kernels

struct Position { uint3 thread, block; dim3 block_size, grid_size; };  // as in kernel.h
struct Kernel {
  void (*call)(void**);
  const size_t* (*sizes)();
  Position* (*position)();
  bool alone;
};
struct Image { void* library; bool alone; std::map<std::string, Kernel*> kernels; };

API CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  void* library = dlopen((const char*)image + 2, RTLD_NOW | RTLD_LOCAL);
  if (!library) return fprintf(stderr, "%s\n", dlerror()), CUDA_ERROR_INVALID_IMAGE;
  *module = (CUmodule) new Image{library, *(const char*)image == '1', {}};
  return CUDA_SUCCESS;
}
API CUresult cuModuleUnload(CUmodule) { return CUDA_SUCCESS; }
API CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  auto image = (Image*)module;
  auto symbol = [&](const std::string& what) { return dlsym(image->library, what.c_str()); };
  std::lock_guard<std::mutex> guard(lock);
  auto& kernel = image->kernels[name];
  if (!kernel) {
    const std::string own = name;
    if (!symbol("call_" + own)) return CUDA_ERROR_NOT_FOUND;
    kernel = new Kernel{(void (*)(void**))symbol("call_" + own), (const size_t* (*)())symbol("sizes_" + own),
                        (Position * (*)()) symbol("own_position"), image->alone};
  }
  *function = (CUfunction)kernel;
  return CUDA_SUCCESS;
}
API CUresult cuFuncGetAttribute(int* value, CUfunction_attribute, CUfunction) { *value = 1024; return CUDA_SUCCESS; }
API CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }
API CUresult cuGetErrorName(CUresult, const char** text) { *text = "CUDA_ERROR"; return CUDA_SUCCESS; }
API CUresult cuGetErrorString(CUresult, const char** text) { *text = "an error"; return CUDA_SUCCESS; }
API CUresult cuCtxGetCurrent(CUcontext* context) { *context = (CUcontext)(size_t)(current + 1); return CUDA_SUCCESS; }
API CUresult cuCtxSetCurrent(CUcontext context) { current = (int)(size_t)context - 1; return CUDA_SUCCESS; }
API CUresult cuCtxGetDevice(CUdevice* device) { *device = current; return CUDA_SUCCESS; }

// The threads of a block are fibers: each has a stack, and runs until it waits for the others.
asm(R"(
.text
.globl switch_fiber
switch_fiber:
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp,(%rdi)
  mov %rsi,%rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  ret
)");
extern "C" void switch_fiber(void** leave, void* enter);

enum State { RUNNING, AT_BLOCK, AT_WARP, ENDED };
struct Fiber { void* stack; State state; };
static const size_t STACK = 64 << 10;
static const unsigned WARP = 32;
struct Team {
  std::vector<Fiber> fibers;
  std::vector<char*> stacks;
  std::vector<char> shared;
  void* home;
  unsigned self;
  Kernel* kernel;
  void** arguments;
  char mail[32][WARP][16];
};
static thread_local Team team;

static void wait_as(State state) {
  team.fibers[team.self].state = state;
  switch_fiber(&team.fibers[team.self].stack, team.home);
}
static void run_fiber() {
  team.kernel->call(team.arguments);
  wait_as(ENDED);
}
API void wait_for_block() { wait_as(AT_BLOCK); }
API void wait_for_warp() { wait_as(AT_WARP); }
API unsigned own_number() { return team.self; }
API char* mailbox(unsigned lane) { return team.mail[team.self / WARP][lane]; }
API char* dynamic_memory() { return team.shared.data(); }

static bool let_go(unsigned from, unsigned to, State waiting) {
  bool any = false;
  for (unsigned i = from; i < to; i++)
    if (team.fibers[i].state == waiting) team.fibers[i].state = RUNNING, any = true;
  return any;
}
static void run_block(Position* at, unsigned count) {
  team.fibers.assign(count, {});
  while (team.stacks.size() < count) team.stacks.push_back((char*)aligned_alloc(64, STACK));
  for (unsigned i = 0; i < count; i++) {
    void** top = (void**)(team.stacks[i] + STACK) - 8;  // six registers, where to begin, and nowhere to return to
    memset(top, 0, 8 * sizeof *top);
    top[6] = (void*)run_fiber;
    team.fibers[i] = {top, RUNNING};
  }
  for (bool more = true; more;) {
    for (unsigned i = 0; i < count; i++) {
      if (team.fibers[i].state != RUNNING) continue;
      team.self = i;
      const unsigned row = i / at->block_size.x;
      at->thread = {i % at->block_size.x, row % at->block_size.y, row / at->block_size.y};
      switch_fiber(&team.home, team.fibers[i].stack);
    }
    more = false;
    for (unsigned i = 0; i < count; i += WARP) more |= let_go(i, std::min(count, i + WARP), AT_WARP);
    if (!more) more = let_go(0, count, AT_BLOCK);
  }
}
API CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                            unsigned bz, unsigned shared, CUstream stream, void** arguments, void**) {
  auto kernel = (Kernel*)function;
  if (capturing && stream == captured) {
    std::vector<std::vector<char>> values;
    for (const size_t* size = kernel->sizes(); *size; size++)
      values.emplace_back((char*)arguments[values.size()], (char*)arguments[values.size()] + *size);
    capturing->actions.push_back([=]() mutable {
      std::vector<void*> addresses;
      for (auto& value : values) addresses.push_back(value.data());
      cuLaunchKernel(function, gx, gy, gz, bx, by, bz, shared, nullptr, addresses.data(), nullptr);
    });
    return CUDA_SUCCESS;
  }
  counts[LAUNCHES]++;
  Position* at = kernel->position();
  if (kernel->alone) {
    *at = {{0, 0, 0}, {0, 0, 0}, {1, 1, 1}, {1, 1, 1}};
    kernel->call(arguments);
    return CUDA_SUCCESS;
  }
  team.kernel = kernel, team.arguments = arguments;
  team.shared.resize(std::max<size_t>(team.shared.size(), shared));
  at->block_size = {bx, by, bz}, at->grid_size = {gx, gy, gz};
  for (unsigned z = 0; z < gz; z++)
    for (unsigned y = 0; y < gy; y++)
      for (unsigned x = 0; x < gx; x++) {
        at->block = {x, y, z};
        run_block(at, bx * by * bz);
      }
  return CUDA_SUCCESS;
}

// -------------------------------------------------------------------------------------------- BLAS

enum { SUCCESS = 0, INVALID_VALUE = 7 };  // cublasStatus_t
enum { IN_DOUBLE = 70, IN_DOUBLE_PEDANTIC = 71 };  // of cublasComputeType_t; all others have factors in float
struct Handle { cudaStream_t stream; int pointer_mode, math_mode; };
API int cublasCreate_v2(Handle** handle) { *handle = new Handle{}; return SUCCESS; }
API int cublasDestroy_v2(Handle* handle) { delete handle; return SUCCESS; }
API int cublasGetVersion_v2(Handle*, int* version) { *version = 130000; return SUCCESS; }
API int cublasSetStream_v2(Handle* handle, cudaStream_t stream) { handle->stream = stream; return SUCCESS; }
API int cublasGetStream_v2(Handle* handle, cudaStream_t* stream) { *stream = handle->stream; return SUCCESS; }
API int cublasSetPointerMode_v2(Handle* handle, int mode) { handle->pointer_mode = mode; return SUCCESS; }
API int cublasGetPointerMode_v2(Handle* handle, int* mode) { *mode = handle->pointer_mode; return SUCCESS; }
API int cublasSetMathMode(Handle* handle, int mode) { handle->math_mode = mode; return SUCCESS; }
API int cublasGetMathMode(Handle* handle, int* mode) { *mode = handle->math_mode; return SUCCESS; }
API int cublasSetWorkspace_v2(Handle*, void*, size_t) { return SUCCESS; }

struct Matrix {  // that lies column by column, or is turned
  const void* place;
  cudaDataType type;
  size_t distance;
  bool turned;

  size_t at(size_t i, size_t j) const { return turned ? i * distance + j : j * distance + i; }
  double get(size_t i, size_t j) const {
    switch (type) {
      case CUDA_R_16F: return __half2float(((const __half*)place)[at(i, j)]);
      case CUDA_R_16BF: return __bfloat162float(((const __nv_bfloat16*)place)[at(i, j)]);
      case CUDA_R_32F: return ((const float*)place)[at(i, j)];
      default: return ((const double*)place)[at(i, j)];
    }
  }
  void set(size_t i, size_t j, double value) const {
    switch (type) {
      case CUDA_R_16F: ((__half*)place)[at(i, j)] = __float2half((float)value); break;
      case CUDA_R_16BF: ((__nv_bfloat16*)place)[at(i, j)] = __float2bfloat16((float)value); break;
      case CUDA_R_32F: ((float*)place)[at(i, j)] = (float)value; break;
      default: ((double*)place)[at(i, j)] = value;
    }
  }
  Matrix number(long long i, long long stride) const {
    const size_t width = type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2;
    return {(const char*)place + i * stride * width, type, distance, turned};
  }
  bool fits(int rows, int columns) const { return distance >= (size_t)std::max(1, turned ? columns : rows); }
};

// C = alpha A B + beta C, added up in T.
template <class T>
static void multiply(int m, int n, int k, double alpha, Matrix A, Matrix B, double beta, Matrix C) {
  std::vector<T> left((size_t)m * k), column(m);
  for (int l = 0; l < k; l++)
    for (int i = 0; i < m; i++) left[(size_t)l * m + i] = A.get(i, l);
  for (int j = 0; j < n; j++) {
    std::fill(column.begin(), column.end(), T(0));
    for (int l = 0; l < k; l++) {
      const T b = B.get(l, j);
      for (int i = 0; i < m; i++) column[i] += left[(size_t)l * m + i] * b;
    }
    for (int i = 0; i < m; i++) C.set(i, j, T(alpha) * column[i] + (beta ? T(beta) * T(C.get(i, j)) : T(0)));
  }
}
static int product(Handle* handle, int m, int n, int k, double alpha, Matrix A, Matrix B, double beta, Matrix C) {
  if (!A.fits(m, k) || !B.fits(k, n) || !C.fits(m, n)) return INVALID_VALUE;
  auto work = [=] {
    counts[PRODUCTS]++;
    (A.type == CUDA_R_64F ? multiply<double> : multiply<float>)(m, n, k, alpha, A, B, beta, C);
  };
  if (!is_kept(handle->stream, work)) work();
  return SUCCESS;
}
static double factor(const void* value, int compute) {
  return compute == IN_DOUBLE || compute == IN_DOUBLE_PEDANTIC ? *(const double*)value : *(const float*)value;
}
API int cublasGemmEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* A, cudaDataType at,
                     int lda, const void* B, cudaDataType bt, int ldb, const void* beta, void* C, cudaDataType ct, int ldc,
                     int compute, int) {
  return product(h, m, n, k, factor(alpha, compute), {A, at, (size_t)lda, ta != 0}, {B, bt, (size_t)ldb, tb != 0},
                 factor(beta, compute), {C, ct, (size_t)ldc, false});
}
API int cublasGemmStridedBatchedEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* A,
                                   cudaDataType at, int lda, long long sa, const void* B, cudaDataType bt, int ldb,
                                   long long sb, const void* beta, void* C, cudaDataType ct, int ldc, long long sc, int count,
                                   int compute, int) {
  const Matrix a = {A, at, (size_t)lda, ta != 0}, b = {B, bt, (size_t)ldb, tb != 0}, c = {C, ct, (size_t)ldc, false};
  int status = SUCCESS;
  for (int i = 0; i < count && !status; i++)
    status = product(h, m, n, k, factor(alpha, compute), a.number(i, sa), b.number(i, sb), factor(beta, compute), c.number(i, sc));
  return status;
}
template <class T>
static int each_product(cudaDataType t, Handle* h, int ta, int tb, int m, int n, int k, const T* alpha, const T* const A[],
                        int lda, const T* const B[], int ldb, const T* beta, T* const C[], int ldc, int count) {
  int status = SUCCESS;
  for (int i = 0; i < count && !status; i++)
    status = product(h, m, n, k, *alpha, {A[i], t, (size_t)lda, ta != 0}, {B[i], t, (size_t)ldb, tb != 0}, *beta,
                     {C[i], t, (size_t)ldc, false});
  return status;
}
API int cublasSgemmBatched(Handle* h, int ta, int tb, int m, int n, int k, const float* alpha, const float* const A[], int lda,
                           const float* const B[], int ldb, const float* beta, float* const C[], int ldc, int count) {
  return each_product(CUDA_R_32F, h, ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc, count);
}
API int cublasDgemmBatched(Handle* h, int ta, int tb, int m, int n, int k, const double* alpha, const double* const A[],
                           int lda, const double* const B[], int ldb, const double* beta, double* const C[], int ldc, int count) {
  return each_product(CUDA_R_64F, h, ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc, count);
}
template <class T>
static int sum(cudaDataType t, Handle* h, int ta, int tb, int m, int n, T alpha, const T* A, int lda, T beta, const T* B,
               int ldb, T* C, int ldc) {
  const Matrix a = {A, t, (size_t)lda, ta != 0}, b = {B, t, (size_t)ldb, tb != 0}, c = {C, t, (size_t)ldc, false};
  auto work = [=] {
    for (int j = 0; j < n; j++)
      for (int i = 0; i < m; i++) c.set(i, j, (alpha ? alpha * T(a.get(i, j)) : T(0)) + (beta ? beta * T(b.get(i, j)) : T(0)));
  };
  if (!is_kept(h->stream, work)) work();
  return SUCCESS;
}
API int cublasSgeam(Handle* h, int ta, int tb, int m, int n, const float* alpha, const float* A, int lda, const float* beta,
                    const float* B, int ldb, float* C, int ldc) {
  return sum(CUDA_R_32F, h, ta, tb, m, n, *alpha, A, lda, *beta, B, ldb, C, ldc);
}
API int cublasDgeam(Handle* h, int ta, int tb, int m, int n, const double* alpha, const double* A, int lda, const double* beta,
                    const double* B, int ldb, double* C, int ldc) {
  return sum(CUDA_R_64F, h, ta, tb, m, n, *alpha, A, lda, *beta, B, ldb, C, ldc);
}
