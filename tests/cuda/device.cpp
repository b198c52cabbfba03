// A CUDA driver, runtime, compiler and BLAS whose device is the processor: what CuPy calls, and no more.
//
// Kernels are compiled by g++.  A stream carries out what it was given when something waits for it, and before that only
// by chance, so that a wait that is missing shows.  Memory is the host's, but it is counted and limited, fenced, filled
// with rubbish at first, and belongs to one of several devices.  A stream that is captured keeps what it is given.
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_profiler_api.h>
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
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
static std::recursive_mutex mutex;
#define LOCKED std::lock_guard<std::recursive_mutex> guard(mutex)

// What was asked of the device, for whoever counts.
enum { LAUNCHES, PRODUCTS, TO_DEVICE, TO_HOST, ON_DEVICE, WAITS, ALLOCATIONS, COMPILATIONS, GRAPHS, COUNTS };
static long counts[COUNTS];
API long* device_counts() { return counts; }

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
API cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) { *can = 0; DONE; }
API cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) { return failed(cudaErrorPeerAccessUnsupported); }
API cudaError_t cudaDeviceDisablePeerAccess(int) { return failed(cudaErrorPeerAccessUnsupported); }
API cudaError_t cudaProfilerStart() { DONE; }
API cudaError_t cudaProfilerStop() { DONE; }

// -------------------------------------------------------------------------------------------- streams

using Action = std::function<void()>;
struct Stream;
struct Point { Stream* stream; long number; };  // so much of what a stream was given
struct Work { Action action; std::vector<Point> after; };
struct Stream {
  int device;
  bool apart;  // does not wait for the stream that everyone has, nor that one for it
  std::deque<Work> waiting;
  long given = 0, done = 0;
  bool left = false;  // by who had it: it is the next one's when all is done
};
static std::vector<Stream*> streams;
static Stream* everyones[64];

struct Graph { std::vector<Action> actions; long counts[COUNTS] = {}; Point last = {nullptr, 0}; };
static Graph* capturing = nullptr;
static Stream* captured = nullptr;
static cudaStreamCaptureMode capture_mode;
static bool spoilt = false;  // by what must not be done meanwhile

static Stream* made_stream(bool apart) {
  for (Stream* stream : streams)
    if (stream->left && stream->done == stream->given) {
      stream->device = current, stream->apart = apart, stream->left = false;
      return stream;
    }
  streams.push_back(new Stream{current, apart});
  return streams.back();
}
static Stream* of_everyone(int device) {
  if (!everyones[device]) streams.push_back(everyones[device] = new Stream{device, false});
  return everyones[device];
}
static Stream* known(cudaStream_t stream) { return (size_t)stream > 2 ? (Stream*)stream : of_everyone(current); }
static bool is_everyones(Stream* stream) { return stream == everyones[stream->device]; }

// A number below ``count`` at random, the same in every run.
static unsigned any_of(unsigned count) {
  static unsigned bits = 2463534242;
  bits ^= bits << 13, bits ^= bits >> 17, bits ^= bits << 5;
  return bits % count;
}
static Stream* one_that_waits() {
  std::vector<Stream*> found;
  for (Stream* stream : streams)
    if (stream->done < stream->given) found.push_back(stream);
  return found[any_of(found.size())];
}
// Carry out what a stream was given so far, each piece after what it has to wait for, and now and then one of another's.
static void reach(Point point) {
  static int depth = 0;
  Stream& stream = *point.stream;
  while (stream.done < point.number) {
    const bool at_random = !depth && !any_of(2);
    Stream* other = at_random ? one_that_waits() : nullptr;
    depth++;
    if (other) {
      reach({other, other->done + 1});
    } else {
      Work work = std::move(stream.waiting.front());
      stream.waiting.pop_front();
      for (Point& before : work.after) reach(before);
      work.action();
      stream.done++;
    }
    depth--;
  }
}
static void reach_all(int device) {
  for (size_t i = 0; i < streams.size(); i++)
    if (streams[i]->device == device) reach({streams[i], streams[i]->given});
}

static void add(Stream* stream, Action action, std::vector<Point> after) {
  stream->waiting.push_back({std::move(action), std::move(after)});
  stream->given++;
}
static cudaError_t give(cudaStream_t handle, int which, Action action, std::vector<Point> after = {}) {
  LOCKED;
  Stream* stream = known(handle);
  if (capturing && stream == captured) {
    capturing->actions.push_back(std::move(action));
    if (which < COUNTS) capturing->counts[which]++;
    DONE;
  }
  const bool implied = capturing && is_everyones(stream) && !captured->apart && stream->device == captured->device;
  if (implied) return spoilt = true, failed(cudaErrorStreamCaptureImplicit);
  const bool computes = which == LAUNCHES || which == PRODUCTS;
  if (computes && stream->device != current) return failed(cudaErrorInvalidResourceHandle);
  if (which < COUNTS) counts[which]++;
  const bool all = is_everyones(stream);
  for (Stream* other : streams) {
    const bool linked = other != stream && other->device == stream->device && !other->apart && !stream->apart;
    if (linked && (all || is_everyones(other)) && other->done < other->given) after.push_back({other, other->given});
  }
  add(stream, std::move(action), std::move(after));
  DONE;
}
static cudaError_t wait_for(cudaStream_t handle) {
  LOCKED;
  Stream* stream = known(handle);
  if (capturing && (stream == captured || capture_mode != cudaStreamCaptureModeRelaxed))
    return spoilt = true, failed(cudaErrorStreamCaptureUnsupported);
  reach({stream, stream->given});
  DONE;
}
// Who asks again and again gets there at last.
static cudaError_t ask_for(Point point) {
  if (point.stream->done >= point.number) DONE;
  reach({point.stream, point.stream->done + 1});
  return cudaErrorNotReady;
}

API cudaError_t cudaDeviceSynchronize() {
  LOCKED;
  counts[WAITS]++;
  if (capturing && captured->device == current) return spoilt = true, failed(cudaErrorStreamCaptureUnsupported);
  reach_all(current);
  DONE;
}
API cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  LOCKED;
  *stream = (cudaStream_t)made_stream(flags & cudaStreamNonBlocking);
  DONE;
}
API cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, 0); }
API cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) { return cudaStreamCreateWithFlags(stream, flags); }
API cudaError_t cudaStreamDestroy(cudaStream_t stream) { LOCKED; ((Stream*)stream)->left = true; DONE; }
API cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned* flags) { LOCKED; *flags = known(stream)->apart; DONE; }
API cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) { *priority = 0; DONE; }
API cudaError_t cudaStreamSynchronize(cudaStream_t stream) { counts[WAITS]++; return wait_for(stream); }
API cudaError_t cudaStreamQuery(cudaStream_t stream) {
  LOCKED;
  if (capturing && known(stream) == captured) return spoilt = true, failed(cudaErrorStreamCaptureUnsupported);
  return ask_for({known(stream), known(stream)->given});
}
API cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t f, void* data, unsigned) {
  return give(stream, COUNTS, [=] { f(stream, cudaSuccess, data); });
}
API cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  return give(stream, COUNTS, [=] { function(data); });
}

using Clock = std::chrono::steady_clock;
struct Event { int device; Point point = {nullptr, 0}; std::shared_ptr<Clock::time_point> when; };
API cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { *event = (cudaEvent_t) new Event{current}; DONE; }
API cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
API cudaError_t cudaEventDestroy(cudaEvent_t event) { delete (Event*)event; DONE; }
API cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream) {
  LOCKED;
  Event& event = *(Event*)handle;
  if (known(stream)->device != event.device) return failed(cudaErrorInvalidResourceHandle);
  auto when = std::make_shared<Clock::time_point>();
  const auto error = give(stream, COUNTS, [=] { *when = Clock::now(); });
  event.point = {known(stream), known(stream)->given}, event.when = when;
  return error;
}
API cudaError_t cudaEventQuery(cudaEvent_t handle) {
  LOCKED;
  Event& event = *(Event*)handle;
  return event.when ? ask_for(event.point) : cudaSuccess;
}
API cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  LOCKED;
  Event& event = *(Event*)handle;
  counts[WAITS]++;
  if (event.when) reach(event.point);
  DONE;
}
API cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t handle, unsigned) {
  LOCKED;
  Event& event = *(Event*)handle;
  if (!event.when) DONE;
  if (capturing && known(stream) == captured) return spoilt = true, failed(cudaErrorStreamCaptureIsolation);
  return give(stream, COUNTS, [] {}, {event.point});
}
API cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  LOCKED;
  Event &a = *(Event*)from, &b = *(Event*)to;
  if (!a.when || !b.when) return failed(cudaErrorInvalidResourceHandle);
  if (a.point.stream->done < a.point.number || b.point.stream->done < b.point.number) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(*b.when - *a.when).count();
  DONE;
}

// -------------------------------------------------------------------------------------------- graphs

API cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  LOCKED;
  if (capturing || is_everyones(known(stream))) return failed(cudaErrorStreamCaptureUnsupported);
  capturing = new Graph, captured = known(stream), capture_mode = mode, spoilt = false;
  DONE;
}
API cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  LOCKED;
  if (!capturing) return failed(cudaErrorIllegalState);
  *graph = (cudaGraph_t)(spoilt ? nullptr : capturing), capturing = nullptr, captured = nullptr;
  return spoilt ? failed(cudaErrorStreamCaptureInvalidated) : cudaSuccess;
}
API cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  LOCKED;
  *status = capturing && known(stream) == captured ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  DONE;
}
API cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  *made = (cudaGraphExec_t) new std::shared_ptr<Graph>(new Graph(*(Graph*)graph));
  DONE;
}
API cudaError_t cudaGraphDestroy(cudaGraph_t graph) { delete (Graph*)graph; DONE; }
API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) { delete (std::shared_ptr<Graph>*)graph; DONE; }
API cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { DONE; }
API cudaError_t cudaGraphLaunch(cudaGraphExec_t made, cudaStream_t stream) {
  LOCKED;
  const auto graph = *(std::shared_ptr<Graph>*)made;
  for (int i = 0; i < COUNTS; i++) counts[i] += graph->counts[i];
  const auto before = graph->last.stream ? std::vector<Point>{graph->last} : std::vector<Point>{};
  const auto error = give(stream, GRAPHS, [=] { for (auto& action : graph->actions) action(); }, before);
  if (!capturing || known(stream) != captured) graph->last = {known(stream), known(stream)->given};
  return error;
}

// -------------------------------------------------------------------------------------------- memory

struct Block { size_t size; int device; };
static std::map<char*, Block> blocks;
static std::map<char*, size_t> pinned;  // of the host, which a stream reads and writes when it comes to it
static size_t in_use[64];

static void* lines(size_t size) { return aligned_alloc(512, (size + 511) / 512 * 512); }
// Behind a block of the device lies a page that nobody may touch: there a kernel ends that goes too far.
static const size_t PAGE = 4096;
static size_t whole(size_t size) { return (size + PAGE - 1) / PAGE * PAGE + PAGE; }
static size_t before(size_t size) { return whole(size) - PAGE - size; }
static void* fenced(size_t size) {
  char* first = (char*)mmap(nullptr, whole(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (first == MAP_FAILED) return nullptr;
  mprotect(first + whole(size) - PAGE, PAGE, PROT_NONE);
  return first + before(size);
}
static bool forbidden() {  // while a stream is captured
  if (!capturing || capture_mode == cudaStreamCaptureModeRelaxed) return false;
  return spoilt = true;
}

API cudaError_t cudaMalloc(void** place, size_t size) {
  LOCKED;
  if (forbidden()) return failed(cudaErrorStreamCaptureUnsupported);
  counts[ALLOCATIONS]++;
  *place = in_use[current] + size > MEMORY ? nullptr : fenced(size);
  if (!*place) return failed(cudaErrorMemoryAllocation);
  memset(*place, 0xCD, size);
  blocks[(char*)*place] = {size, current};
  in_use[current] += size;
  DONE;
}
API cudaError_t cudaFree(void* place) {
  if (!place) DONE;
  LOCKED;
  auto found = blocks.find((char*)place);
  if (found == blocks.end()) return failed(cudaErrorInvalidValue);
  if (forbidden()) return failed(cudaErrorStreamCaptureUnsupported);
  reach_all(found->second.device);
  memset(place, 0xDD, found->second.size);
  in_use[found->second.device] -= found->second.size;
  munmap((char*)place - before(found->second.size), whole(found->second.size));
  blocks.erase(found);
  DONE;
}
API cudaError_t cudaHostAlloc(void** place, size_t size, unsigned) {
  LOCKED;
  *place = lines(size);
  pinned[(char*)*place] = size;
  DONE;
}
API cudaError_t cudaFreeHost(void* place) {
  LOCKED;
  for (int device = 0; device < DEVICES; device++) reach_all(device);
  pinned.erase((char*)place);
  free(place);
  DONE;
}
API cudaError_t cudaMemGetInfo(size_t* left, size_t* total) { *total = MEMORY, *left = MEMORY - in_use[current]; DONE; }

static size_t size_of(const size_t& size) { return size; }
static size_t size_of(const Block& block) { return block.size; }
template <class T>
static T* around(std::map<char*, T>& all, const void* where) {
  auto after = all.upper_bound((char*)where);
  if (after == all.begin()) return nullptr;
  auto& [first, found] = *std::prev(after);
  return (char*)where < first + size_of(found) ? &found : nullptr;
}
API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* found, const void* where) {
  LOCKED;
  memset(found, 0, sizeof *found);
  found->type = cudaMemoryTypeUnregistered, found->device = -2, found->hostPointer = (void*)where;
  if (around(pinned, where)) found->type = cudaMemoryTypeHost;
  if (Block* block = around(blocks, where))
    found->type = cudaMemoryTypeDevice, found->device = block->device, found->devicePointer = (void*)where;
  DONE;
}
// What lies in the host's ordinary memory is taken at once, and what goes there is waited for.  In the stream that everyone
// has, a copy from one device to another waits for both, and both for it.
API cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind, cudaStream_t stream) {
  LOCKED;
  const Block *source = around(blocks, from), *target = around(blocks, to);
  const int which = source && target ? ON_DEVICE : source ? TO_HOST : TO_DEVICE;
  const bool keeps = capturing && known(stream) == captured;
  Action copy = [=] { memmove(to, from, size); };
  if (!source && !around(pinned, from) && !keeps) {
    auto staged = std::make_shared<std::vector<char>>((const char*)from, (const char*)from + size);
    copy = [=] { memcpy(to, staged->data(), size); };
  }
  std::vector<int> both;
  if (source && target && source->device != target->device && is_everyones(known(stream))) both = {source->device, target->device};
  std::vector<Point> after;
  for (int device : both)
    for (Stream* other : streams)
      if (other->device == device && !other->apart) after.push_back({other, other->given});
  if (auto error = give(stream, which, copy, after)) return error;
  const Point copied = {known(stream), known(stream)->given};
  for (int device : both)
    if (of_everyone(device) != copied.stream) add(of_everyone(device), [] {}, {copied});
  return target || around(pinned, to) ? cudaSuccess : wait_for(stream);
}
API cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind kind) {
  LOCKED;
  if (forbidden()) return failed(cudaErrorStreamCaptureUnsupported);
  if (auto error = cudaMemcpyAsync(to, from, size, kind, nullptr)) return error;
  return around(blocks, from) && around(blocks, to) ? cudaSuccess : wait_for(nullptr);
}
API cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t size, cudaStream_t stream) {
  return cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, stream);
}
API cudaError_t cudaMemcpyPeer(void* to, int, const void* from, int, size_t size) {
  LOCKED;
  for (int device = 0; device < DEVICES; device++) reach_all(device);  // it waits for both
  return cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, nullptr);
}
API cudaError_t cudaMemsetAsync(void* place, int value, size_t size, cudaStream_t stream) {
  return give(stream, ON_DEVICE, [=] { memset(place, value, size); });
}
API cudaError_t cudaMemset(void* place, int value, size_t size) { return cudaMemsetAsync(place, value, size, nullptr); }

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
  // A kernel whose threads stride over all elements, and never meet nor leave early, may as well have one thread.
  static const std::regex leaves(R"(\breturn\s*;)");
  bool alone = text.find("CUPY_FOR(") != std::string::npos && !std::regex_search(text, leaves);
  for (auto word : {"__sync", "__shfl", "__shared__", "threadIdx"}) alone &= text.find(word) == std::string::npos;

  std::ostringstream base;
  base << home << "/kernels/" << std::hex << std::hash<std::string>()(whole + flags);
  const std::string library = base.str() + ".so", mine = base.str() + "." + std::to_string(getpid());
  if (access(library.c_str(), R_OK)) {
    std::ofstream(mine + ".cpp") << whole;
    const std::string command = "g++ -shared -Wl,-Bsymbolic -include " + home + "/kernel.h " + flags + " " + mine + ".cpp -o " + mine + ".so -L" + home + "/lib -lcuda >" + mine + ".log 2>&1";
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

struct Position { uint3 thread, block; dim3 block_size, grid_size; bool backwards; };  // as in kernel.h
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
  LOCKED;
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
// In which order threads and blocks take their turns is left to chance: none may need that another one was first.
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
    const bool backwards = any_of(2);
    for (unsigned turn = 0; turn < count; turn++) {
      const unsigned i = backwards ? count - 1 - turn : turn;
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
static void run_kernel(Kernel* kernel, dim3 grid, dim3 block, unsigned shared, void** arguments) {
  Position* at = kernel->position();
  if (kernel->alone) {
    *at = {{0, 0, 0}, {0, 0, 0}, {1, 1, 1}, {1, 1, 1}, any_of(2)};
    kernel->call(arguments);
    return;
  }
  team.kernel = kernel, team.arguments = arguments;
  team.shared.resize(std::max<size_t>(team.shared.size(), shared));
  at->block_size = block, at->grid_size = grid, at->backwards = false;
  const size_t count = (size_t)grid.x * grid.y * grid.z;
  const bool backwards = any_of(2);
  for (size_t turn = 0; turn < count; turn++) {
    const size_t i = backwards ? count - 1 - turn : turn, row = i / grid.x;
    at->block = {unsigned(i % grid.x), unsigned(row % grid.y), unsigned(row / grid.y)};
    run_block(at, block.x * block.y * block.z);
  }
}
API CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                            unsigned bz, unsigned shared, CUstream stream, void** arguments, void**) {
  auto kernel = (Kernel*)function;
  std::vector<std::vector<char>> values;
  for (const size_t* size = kernel->sizes(); *size; size++) {
    const char* value = (const char*)arguments[values.size()];
    values.emplace_back(value, value + *size);
  }
  return (CUresult)give((cudaStream_t)stream, LAUNCHES, [=]() mutable {
    std::vector<void*> addresses;
    for (auto& value : values) addresses.push_back(value.data());
    run_kernel(kernel, {gx, gy, gz}, {bx, by, bz}, shared, addresses.data());
  });
}

// -------------------------------------------------------------------------------------------- BLAS

enum { SUCCESS = 0, INVALID_VALUE = 7 };  // cublasStatus_t
enum { IN_DOUBLE = 70, IN_DOUBLE_PEDANTIC = 71 };  // of cublasComputeType_t; all others have factors in float
struct Handle { cudaStream_t stream; int pointer_mode, math_mode; char* workspace; size_t room; };
API int cublasCreate_v2(Handle** handle) { *handle = new Handle{}; return SUCCESS; }
API int cublasDestroy_v2(Handle* handle) { delete handle; return SUCCESS; }
API int cublasGetVersion_v2(Handle*, int* version) { *version = 130000; return SUCCESS; }
API int cublasSetStream_v2(Handle* handle, cudaStream_t stream) {
  handle->stream = stream, handle->workspace = nullptr, handle->room = 0;  // its own again
  return SUCCESS;
}
API int cublasGetStream_v2(Handle* handle, cudaStream_t* stream) { *stream = handle->stream; return SUCCESS; }
API int cublasSetPointerMode_v2(Handle* handle, int mode) { handle->pointer_mode = mode; return SUCCESS; }
API int cublasGetPointerMode_v2(Handle* handle, int* mode) { *mode = handle->pointer_mode; return SUCCESS; }
API int cublasSetMathMode(Handle* handle, int mode) { handle->math_mode = mode; return SUCCESS; }
API int cublasGetMathMode(Handle* handle, int* mode) { *mode = handle->math_mode; return SUCCESS; }
API int cublasSetWorkspace_v2(Handle* handle, void* place, size_t size) {
  handle->workspace = (char*)place, handle->room = size;
  return SUCCESS;
}

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
// A factor is the host's and read at once, or the device's and read when its turn comes.
struct Factor {
  const void* place;
  bool wide;
  double value;

  template <class T>
  Factor(Handle* h, const T* place) : Factor(h, place, sizeof(T) == 8) {}
  Factor(Handle* h, const void* place, bool wide)
      : place(h->pointer_mode ? place : nullptr), wide(wide), value(h->pointer_mode ? 0 : read(place)) {}
  double read(const void* from) const { return wide ? *(const double*)from : *(const float*)from; }
  double operator()() const { return place ? read(place) : value; }
};
static bool is_wide(int compute) { return compute == IN_DOUBLE || compute == IN_DOUBLE_PEDANTIC; }

static int product(Handle* handle, int m, int n, int k, Factor alpha, Matrix A, Matrix B, Factor beta, Matrix C) {
  if (!A.fits(m, k) || !B.fits(k, n) || !C.fits(m, n)) return INVALID_VALUE;
  for (const void* place : {A.place, B.place, (const void*)C.place}) {
    LOCKED;
    const Block* block = around(blocks, place);
    if (m && n && k && (!block || block->device != current)) return INVALID_VALUE;
  }
  char *workspace = handle->workspace, *end = workspace + handle->room;
  return give(handle->stream, PRODUCTS, [=] {
    if (workspace) memset(workspace, 0xEE, 4096), memset(end - 4096, 0xEE, 4096);  // it is the product's alone
    (A.type == CUDA_R_64F ? multiply<double> : multiply<float>)(m, n, k, alpha(), A, B, beta(), C);
  });
}
API int cublasGemmEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* A, cudaDataType at,
                     int lda, const void* B, cudaDataType bt, int ldb, const void* beta, void* C, cudaDataType ct, int ldc,
                     int compute, int) {
  const bool wide = is_wide(compute);
  return product(h, m, n, k, {h, alpha, wide}, {A, at, (size_t)lda, ta != 0}, {B, bt, (size_t)ldb, tb != 0},
                 {h, beta, wide}, {C, ct, (size_t)ldc, false});
}
API int cublasGemmStridedBatchedEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* A,
                                   cudaDataType at, int lda, long long sa, const void* B, cudaDataType bt, int ldb,
                                   long long sb, const void* beta, void* C, cudaDataType ct, int ldc, long long sc, int count,
                                   int compute, int) {
  const Matrix a = {A, at, (size_t)lda, ta != 0}, b = {B, bt, (size_t)ldb, tb != 0}, c = {C, ct, (size_t)ldc, false};
  const bool wide = is_wide(compute);
  int status = SUCCESS;
  for (int i = 0; i < count && !status; i++)
    status = product(h, m, n, k, {h, alpha, wide}, a.number(i, sa), b.number(i, sb), {h, beta, wide}, c.number(i, sc));
  return status;
}
// The places of the matrices are on the device as well.
template <class T>
static int each_product(cudaDataType t, Handle* h, int ta, int tb, int m, int n, int k, const T* alpha, const T* const A[],
                        int lda, const T* const B[], int ldb, const T* beta, T* const C[], int ldc, int count) {
  const Factor factor(h, alpha), of_old(h, beta);
  int status = SUCCESS;
  for (int i = 0; i < count && !status; i++)
    status = give(h->stream, PRODUCTS, [=] {
      multiply<T>(m, n, k, factor(), {A[i], t, (size_t)lda, ta != 0}, {B[i], t, (size_t)ldb, tb != 0}, of_old(),
                  {C[i], t, (size_t)ldc, false});
    });
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
static int sum(cudaDataType t, Handle* h, int ta, int tb, int m, int n, const T* alpha, const T* A, int lda, const T* beta,
               const T* B, int ldb, T* C, int ldc) {
  const Matrix a = {A, t, (size_t)lda, ta != 0}, b = {B, t, (size_t)ldb, tb != 0}, c = {C, t, (size_t)ldc, false};
  const Factor of_a(h, alpha), of_b(h, beta);
  return give(h->stream, COUNTS, [=] {
    const T p = of_a(), q = of_b();
    for (int j = 0; j < n; j++)
      for (int i = 0; i < m; i++) c.set(i, j, (p ? p * T(a.get(i, j)) : T(0)) + (q ? q * T(b.get(i, j)) : T(0)));
  });
}
API int cublasSgeam(Handle* h, int ta, int tb, int m, int n, const float* alpha, const float* A, int lda, const float* beta,
                    const float* B, int ldb, float* C, int ldc) {
  return sum(CUDA_R_32F, h, ta, tb, m, n, alpha, A, lda, beta, B, ldb, C, ldc);
}
API int cublasDgeam(Handle* h, int ta, int tb, int m, int n, const double* alpha, const double* A, int lda, const double* beta,
                    const double* B, int ldb, double* C, int ldc) {
  return sum(CUDA_R_64F, h, ta, tb, m, n, alpha, A, lda, beta, B, ldb, C, ldc);
}
