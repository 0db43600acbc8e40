/* build.h */
#ifndef MVM_BUILD_H
#define MVM_BUILD_H 
#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/struct.h>
#include <mvm/template.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct mvm_build_options {
 size_t size;
 bool snapshot;
 bool force;
 bool no_wait;
 const char *backend;
 bool dry_run;
 uint64_t max_image_bytes;
 bool allow_pre_build;
 bool update_hash;
};
#define MVM_BUILD_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_build_options)
struct mvm_snapshot_step {
 const char *name;
 int64_t ns;
 uint64_t bytes;
};
#define MVM_SNAPSHOT_STEPS_MAX 8
#define MVM_BUILD_WHY_SIZE 160
struct mvm_build_result {
 size_t size;
 char template_id[MVM_TEMPLATE_ID_SIZE];
 char revision[MVM_REVISION_SIZE];
 char cache_key[MVM_CACHE_KEY_SIZE];
 bool cached;
 bool new_revision;
 bool has_snapshot;
 bool new_snapshot;
 uint64_t rootfs_bytes;
 uint64_t snapshot_mem_bytes;
 uint64_t snapshot_disk_bytes;
 int64_t build_ns, snapshot_ns;
 struct mvm_snapshot_step snapshot_steps[MVM_SNAPSHOT_STEPS_MAX];
 size_t n_snapshot_steps;
 char why[MVM_BUILD_WHY_SIZE];
};
#define MVM_BUILD_RESULT_INIT MVM_STRUCT_INIT(struct mvm_build_result)
MVM_API int mvm_template_build(struct mvm *mvm, const char *id,
          const struct mvm_build_options *options,
          const struct mvm_progress *progress, struct mvm_build_result *ret,
          struct mvm_error *err);
struct mvm_snapshot_options {
 size_t size;
 bool remove;
 bool no_wait;
 const char *backend;
};
#define MVM_SNAPSHOT_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_snapshot_options)
MVM_API int mvm_template_snapshot(struct mvm *mvm, const char *ref,
      const struct mvm_snapshot_options *options,
      const struct mvm_progress *progress, struct mvm_build_result *ret,
      struct mvm_error *err);
MVM_API int mvm_template_build_variant_plan(struct mvm *mvm,
         const struct mvm_template_config *config,
         const struct mvm_template_variant *variant,
         const struct mvm_build_options *options,
         const struct mvm_progress *progress,
         struct mvm_build_result *ret, struct mvm_error *err);
#endif
/* digest.h */
#ifndef MVM_DIGEST_H
#define MVM_DIGEST_H 
#include <stdint.h>
struct mvm_digest {
 uint8_t bytes[32];
};
#endif
/* doctor.h */
#ifndef MVM_DOCTOR_H
#define MVM_DOCTOR_H 
#include <mvm/error.h>
#include <mvm/struct.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
enum mvm_check_level {
 MVM_CHECK_OK,
 MVM_CHECK_WARN,
 MVM_CHECK_FAIL,
};
struct mvm_check {
 const char *name;
 enum mvm_check_level level;
 char *text;
 char *mend;
 char *reason;
 char *subject;
};
MVM_API void mvm_check_free(struct mvm_check *check);
MVM_API int mvm_doctor(const char *data_dir, struct mvm_check ***ret, size_t *ret_n,
         struct mvm_error *err);
MVM_API void mvm_check_list_free(struct mvm_check **list, size_t n);
#define MVM_HOST_PRESSURE_TEXT_SIZE 128
struct mvm_host_pressure {
 size_t size;
 bool known;
 double cpu, memory, io;
 double load_per_cpu;
 char text[MVM_HOST_PRESSURE_TEXT_SIZE];
};
#define MVM_HOST_PRESSURE_INIT MVM_STRUCT_INIT(struct mvm_host_pressure)
MVM_API void mvm_host_pressure(struct mvm_host_pressure *ret);
#endif
/* error.h */
#ifndef MVM_ERROR_H
#define MVM_ERROR_H 
#include <mvm/visibility.h>
#define MVM_ERROR_REASON_SIZE 32
#define MVM_ERROR_SUBJECT_SIZE 128
#define MVM_ERROR_HINT_SIZE 512
#define MVM_ERROR_TEXT_SIZE 1024
struct mvm_error {
 int code;
 char reason[MVM_ERROR_REASON_SIZE];
 char subject[MVM_ERROR_SUBJECT_SIZE];
 char hint[MVM_ERROR_HINT_SIZE];
 char text[MVM_ERROR_TEXT_SIZE];
};
MVM_API int mvm_error_exit_status(int code);
#endif
/* instance.h */
#ifndef MVM_INSTANCE_H
#define MVM_INSTANCE_H 
#include <mvm/error.h>
#include <mvm/logs.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/struct.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct mvm_instance;
enum mvm_instance_state {
 MVM_INSTANCE_STARTING,
 MVM_INSTANCE_RUNNING,
 MVM_INSTANCE_PAUSED,
 MVM_INSTANCE_EXITED,
 MVM_INSTANCE_FAILED,
};
MVM_API const char *mvm_instance_state_name(enum mvm_instance_state state);
struct mvm_forward {
 bool udp;
 char host_address[46];
 uint16_t host_port;
 uint16_t guest_port;
 uint64_t reserved[2];
};
MVM_API int mvm_forward_parse(const char *text, struct mvm_forward *ret, struct mvm_error *err);
MVM_API int mvm_network_rule_check(const char *text, struct mvm_error *err);
struct mvm_volume {
 char *host, *guest;
 char *name;
 bool write_back;
 uint64_t reserved[2];
};
MVM_API void mvm_volume_done(struct mvm_volume *v);
MVM_API int mvm_volume_parse(const char *text, struct mvm_volume *ret, struct mvm_error *err);
#define MVM_VOLUMES_MAX 16
MVM_API int mvm_volumes_check(const struct mvm_volume *list, size_t n, struct mvm_error *err);
enum mvm_start_kind {
 MVM_START_AUTO,
 MVM_START_COLD,
 MVM_START_REQUIRE_SNAPSHOT,
};
enum mvm_restart {
 MVM_RESTART_NO,
 MVM_RESTART_ON_FAILURE,
 MVM_RESTART_ALWAYS,
 MVM_RESTART_UNLESS_STOPPED,
};
MVM_API int mvm_restart_parse(const char *text, enum mvm_restart *ret, uint32_t *ret_max,
         struct mvm_error *err);
struct mvm_start_options {
 size_t size;
 const char *template_ref;
 const char *name;
 bool attached;
 bool held;
 enum mvm_start_kind kind;
 const char *backend;
 unsigned vcpus;
 uint32_t mem_mib;
 const struct mvm_forward *forwards;
 size_t n_forwards;
 const struct mvm_volume *volumes;
 size_t n_volumes;
 enum mvm_restart restart;
 uint32_t restart_max;
 bool keep_running;
 bool remove_at_end;
 bool private_memory;
 bool exec;
 const char *const *env;
 const char *hostname;
 int64_t ttl_ms;
 uint64_t log_max_bytes;
 int64_t volume_timeout_ms;
 bool verify;
 const char *const *network_allow, *const *network_deny;
 bool no_network;
};
#define MVM_START_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_start_options)
MVM_API int mvm_instance_start(struct mvm *mvm, const struct mvm_start_options *options,
          const struct mvm_progress *progress, struct mvm_instance **ret,
          struct mvm_error *err);
#define MVM_START_MANY_MAX 1000u
MVM_API int mvm_instance_start_many(struct mvm *mvm, const struct mvm_start_options *options,
        uint32_t n, const struct mvm_progress *progress,
        struct mvm_instance **ret, struct mvm_error *err);
MVM_API int mvm_instance_start_again(struct mvm *mvm, const char *name,
         const struct mvm_progress *progress, struct mvm_instance **ret,
         struct mvm_error *err);
MVM_API int mvm_instance_open(struct mvm *mvm, const char *name, struct mvm_instance **ret,
         struct mvm_error *err);
MVM_API void mvm_instance_close(struct mvm_instance *instance);
MVM_API void mvm_instance_keep(struct mvm_instance *instance);
MVM_API const char *mvm_instance_name(const struct mvm_instance *instance);
MVM_API const char *mvm_instance_start_json(const struct mvm_instance *instance);
struct mvm_refusal {
 const char *target;
 uint16_t port;
 const char *protocol;
 const char *reason;
 uint64_t count;
 const char *last_at;
 uint64_t reserved[2];
};
struct mvm_instance_info {
 char *name, *template_id, *revision;
 enum mvm_instance_state state;
 bool restored;
 bool from_pool;
 char *reason;
 char *backend;
 char *created_at, *started_at, *ended_at;
 unsigned vcpus;
 uint32_t mem_mib;
 struct mvm_forward *forwards;
 size_t n_forwards;
 int64_t start_ns;
 int64_t supervisor_pid, vmm_pid;
 char *error;
 char *health;
 char *health_message;
 char *expires_at;
 unsigned restarts;
 bool workload_ended;
 int exit_code;
 uint64_t cpu_ns;
 uint64_t memory_private_bytes, memory_shared_bytes;
 uint64_t disk_bytes;
 char *json;
 const char *const *network_allow, *const *network_deny;
 char *network_problem;
 uint64_t network_refused;
 struct mvm_refusal *refusals;
 size_t n_refusals;
};
MVM_API void mvm_instance_info_free(struct mvm_instance_info *info);
MVM_API int mvm_instance_settle(struct mvm *mvm, const struct mvm_progress *progress,
    struct mvm_error *err);
MVM_API int mvm_instance_inspect(struct mvm *mvm, const char *name, struct mvm_instance_info **ret,
     struct mvm_error *err);
MVM_API int mvm_instance_list(struct mvm *mvm, struct mvm_instance_info ***ret, size_t *ret_n,
         struct mvm_error *err);
MVM_API void mvm_instance_list_free(struct mvm_instance_info **list, size_t n);
struct mvm_exec_options {
 size_t size;
 const char *const *command;
 const char *const *env;
 const char *workdir, *user;
 bool tty;
 const int *stdin_fd;
 const int *stdout_fd, *stderr_fd;
 const int *signal_fd;
 int64_t timeout_ms;
 const int *cancel_fd;
};
#define MVM_EXEC_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_exec_options)
MVM_API int mvm_instance_exec(struct mvm_instance *instance, const struct mvm_exec_options *options,
         int *ret_status, struct mvm_error *err);
#define MVM_COPY_MAX_BYTES (UINT64_C(64) << 30)
struct mvm_copy_options {
 size_t size;
 bool follow_link;
 uint64_t max_bytes;
 const int *stream_fd;
 int64_t timeout_ms;
 int64_t idle_ms;
};
#define MVM_COPY_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_copy_options)
MVM_API int mvm_instance_copy_in(struct mvm_instance *instance, const char *host_path,
     const char *guest_path, const struct mvm_copy_options *options,
     const struct mvm_progress *progress, struct mvm_error *err);
MVM_API int mvm_instance_copy_out(struct mvm_instance *instance, const char *guest_path,
      const char *host_path, const struct mvm_copy_options *options,
      const struct mvm_progress *progress, struct mvm_error *err);
MVM_API int mvm_instance_copy_back(struct mvm *mvm, const char *name,
       const struct mvm_copy_options *options,
       const struct mvm_progress *progress, struct mvm_error *err);
MVM_API int mvm_instance_finish(struct mvm_instance *instance, int64_t timeout_ms,
    struct mvm_error *err);
struct mvm_wait_options {
 size_t size;
 int64_t timeout_ms;
 const int *cancel_fd;
};
#define MVM_WAIT_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_wait_options)
MVM_API int mvm_instance_wait(struct mvm_instance *instance, const struct mvm_wait_options *options,
         int *ret_status, struct mvm_error *err);
MVM_API int mvm_instance_wait_workload(struct mvm_instance *instance,
           const struct mvm_wait_options *options, int *ret_status,
           struct mvm_error *err);
MVM_API int mvm_instance_stop(struct mvm *mvm, const char *name, int64_t timeout_ms,
         struct mvm_error *err);
MVM_API int mvm_instance_restart(struct mvm *mvm, const char *name, int64_t timeout_ms,
     const struct mvm_progress *progress, struct mvm_instance **ret,
     struct mvm_error *err);
MVM_API int mvm_instance_kill(struct mvm *mvm, const char *name, const char *signal,
         struct mvm_error *err);
struct mvm_process {
 int64_t pid, parent_pid;
 uint32_t uid;
 char state;
 int64_t cpu_ns;
 uint64_t memory_bytes;
 const char *command;
};
typedef int (*mvm_process_fn)(void *arg, const struct mvm_process *process);
MVM_API int mvm_instance_processes(struct mvm *mvm, const char *name, mvm_process_fn fn, void *arg,
       struct mvm_error *err);
struct mvm_network_options {
 size_t size;
 const char *const *allow, *const *deny;
 bool add;
};
#define MVM_NETWORK_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_network_options)
MVM_API int mvm_instance_set_network(struct mvm *mvm, const char *name,
         const struct mvm_network_options *options,
         struct mvm_error *err);
MVM_API int mvm_instance_pause(struct mvm *mvm, const char *name, struct mvm_error *err);
MVM_API int mvm_instance_resume(struct mvm *mvm, const char *name, struct mvm_error *err);
MVM_API int mvm_instance_remove(struct mvm *mvm, const char *name, bool force,
    struct mvm_error *err);
MVM_API int mvm_instance_remove_unnamed(struct mvm *mvm, const char *name, bool force,
     struct mvm_error *err);
#endif
/* kernel.h */
#ifndef MVM_KERNEL_H
#define MVM_KERNEL_H 
#include <mvm/digest.h>
#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
enum mvm_kernel_feature {
 MVM_KERNEL_VIRTIO_MMIO,
 MVM_KERNEL_VIRTIO_PCI,
 MVM_KERNEL_VIRTIO_BLK,
 MVM_KERNEL_VIRTIO_NET,
 MVM_KERNEL_VIRTIO_CONSOLE,
 MVM_KERNEL_VSOCK,
 MVM_KERNEL_EXT4,
 MVM_KERNEL_OVERLAY,
 MVM_KERNEL_FEATURES,
};
#define MVM_KERNEL_FEATURES_MAX 64
enum mvm_kernel_has {
 MVM_KERNEL_UNKNOWN,
 MVM_KERNEL_NO,
 MVM_KERNEL_MODULE,
 MVM_KERNEL_BUILTIN,
};
MVM_API const char *mvm_kernel_feature_name(unsigned feature);
MVM_API const char *mvm_kernel_has_name(unsigned has);
struct mvm_kernel {
 char *name;
 char *version;
 char *added_at;
 struct mvm_digest vmlinux;
 struct mvm_digest modules;
 uint64_t vmlinux_bytes;
 uint32_t n_modules;
 bool pvh;
 uint8_t features[MVM_KERNEL_FEATURES_MAX];
 char *problem;
};
MVM_API void mvm_kernel_free(struct mvm_kernel *kernel);
MVM_API int mvm_kernel_add(struct mvm *mvm, const char *path, const char *name, bool force,
      struct mvm_kernel **ret, struct mvm_error *err);
MVM_API int mvm_kernel_fetch(struct mvm *mvm, const char *name, bool force,
        const struct mvm_progress *progress, struct mvm_kernel **ret,
        struct mvm_error *err);
MVM_API int mvm_kernel_download(const char *dir, const struct mvm_progress *progress, char **ret,
    struct mvm_error *err);
MVM_API int mvm_kernel_list(struct mvm *mvm, struct mvm_kernel ***ret, size_t *ret_n,
       struct mvm_error *err);
MVM_API void mvm_kernel_list_free(struct mvm_kernel **list, size_t n);
MVM_API int mvm_kernel_remove(struct mvm *mvm, const char *name, struct mvm_error *err);
#endif
/* logs.h */
#ifndef MVM_LOGS_H
#define MVM_LOGS_H 
#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/struct.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct mvm_event {
 const char *time;
 const char *event;
 const char *instance, *template_id;
 const char *message;
 const char *json;
};
typedef int (*mvm_event_fn)(void *arg, const struct mvm_event *event);
struct mvm_events_options {
 size_t size;
 const char *since;
 bool follow;
 const int *cancel_fd;
};
#define MVM_EVENTS_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_events_options)
MVM_API int mvm_events(struct mvm *mvm, const struct mvm_events_options *options, mvm_event_fn fn,
         void *arg, struct mvm_error *err);
struct mvm_log_entry {
 const char *time;
 bool workload;
 bool full;
 const char *text;
 size_t len;
};
typedef int (*mvm_log_fn)(void *arg, const struct mvm_log_entry *entry);
struct mvm_logs_options {
 size_t size;
 bool console;
 bool workload;
 bool timestamps;
 const uint64_t *tail;
 const char *since;
 bool follow;
 const int *cancel_fd;
 const int *out_fd;
 bool visible;
 mvm_log_fn fn;
 void *arg;
};
#define MVM_LOGS_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_logs_options)
MVM_API int mvm_instance_logs(struct mvm *mvm, const char *name,
         const struct mvm_logs_options *options, struct mvm_error *err);
#endif
/* mvm.h */
#ifndef MVM_MVM_H
#define MVM_MVM_H 
#include <mvm/error.h>
#include <mvm/visibility.h>
struct mvm;
#define MVM_VERSION_MAJOR 0
#define MVM_VERSION_MINOR 3
#define MVM_VERSION_PATCH 0
MVM_API int mvm_open(const char *data_dir, struct mvm **ret, struct mvm_error *err);
MVM_API void mvm_close(struct mvm *mvm);
MVM_API const char *mvm_version(void);
#endif
/* paths.h */
#ifndef MVM_PATHS_H
#define MVM_PATHS_H 
#include <mvm/visibility.h>
MVM_API char *mvm_data_dir(const char *argument);
MVM_API char *mvm_templates_base_dir(const char *data_dir);
MVM_API char *mvm_template_dir(const char *data_dir, const char *template_id);
MVM_API char *mvm_template_spec_path(const char *data_dir, const char *template_id);
MVM_API char *mvm_template_artifacts_dir(const char *data_dir, const char *template_id);
MVM_API char *mvm_template_revision_dir(const char *data_dir, const char *template_id,
     const char *revision);
MVM_API char *mvm_template_current_symlink(const char *data_dir, const char *template_id);
MVM_API char *mvm_template_snapshot_dir(const char *data_dir, const char *template_id,
     const char *revision);
#endif
/* pool.h */
#ifndef MVM_POOL_H
#define MVM_POOL_H 
#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/struct.h>
#include <mvm/visibility.h>
#include <stddef.h>
#include <stdint.h>
#define MVM_POOL_SIZE_MAX 256u
#define MVM_POOL_SERVER_SIZE 128
MVM_API int mvm_pool_set(struct mvm *mvm, const char *template_id, uint32_t size,
    struct mvm_error *err);
struct mvm_pool_info {
 char *template_id;
 uint32_t size;
 uint32_t ready;
 char *note;
};
MVM_API void mvm_pool_info_free(struct mvm_pool_info *info);
MVM_API int mvm_pool_list(struct mvm *mvm, struct mvm_pool_info ***ret, size_t *ret_n,
     char ret_server[MVM_POOL_SERVER_SIZE], struct mvm_error *err);
MVM_API void mvm_pool_list_free(struct mvm_pool_info **list, size_t n);
struct mvm_pool_serve_options {
 size_t size;
 uint64_t max_memory_bytes;
};
#define MVM_POOL_SERVE_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_pool_serve_options)
MVM_API int mvm_pool_serve(struct mvm *mvm, const struct mvm_pool_serve_options *options,
      const struct mvm_progress *progress, struct mvm_error *err);
#endif
/* progress.h */
#ifndef MVM_PROGRESS_H
#define MVM_PROGRESS_H 
#include <mvm/struct.h>
#include <stdint.h>
enum mvm_progress_kind {
 MVM_PROGRESS_BEGIN,
 MVM_PROGRESS_UPDATE,
 MVM_PROGRESS_END,
 MVM_PROGRESS_FAILED,
 MVM_PROGRESS_NOTE,
 MVM_PROGRESS_WAIT,
};
struct mvm_progress_event {
 enum mvm_progress_kind kind;
 const char *text;
 const char *detail;
 uint64_t done_bytes;
 uint64_t total_bytes;
 int64_t elapsed_ns;
};
struct mvm_progress {
 size_t size;
 int (*fn)(void *arg, const struct mvm_progress_event *event);
 void *arg;
 const int *cancel_fd;
};
#define MVM_PROGRESS_INIT MVM_STRUCT_INIT(struct mvm_progress)
#endif
/* revisions.h */
#ifndef MVM_REVISIONS_H
#define MVM_REVISIONS_H 
#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/struct.h>
#include <mvm/template.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct mvm_revision_summary {
 char *revision;
 bool current;
 bool in_use;
 int64_t built_at;
 uint8_t vcpus;
 uint32_t mem_mib;
 uint64_t rootfs_bytes;
 uint64_t disk_bytes;
 bool has_snapshot;
 int64_t snapshot_at;
 uint64_t snapshot_mem_bytes;
 char *problem;
};
MVM_API void mvm_revision_summary_free(struct mvm_revision_summary *summary);
MVM_API int mvm_template_history(struct mvm *mvm, const char *id,
     struct mvm_revision_summary ***ret, size_t *ret_n,
     struct mvm_error *err);
MVM_API void mvm_revision_list_free(struct mvm_revision_summary **list, size_t n);
MVM_API int mvm_template_rollback(struct mvm *mvm, const char *id, const char *revision,
      const struct mvm_progress *progress,
      char ret_from[MVM_REVISION_SIZE], char ret_to[MVM_REVISION_SIZE],
      struct mvm_error *err);
struct mvm_diff_artifact {
 char *name;
 char *from, *to;
 uint64_t from_bytes, to_bytes;
};
struct mvm_diff_setting {
 char *key;
 char *from, *to;
};
struct mvm_template_diff {
 char from_id[MVM_TEMPLATE_ID_SIZE], from_revision[MVM_REVISION_SIZE];
 char to_id[MVM_TEMPLATE_ID_SIZE], to_revision[MVM_REVISION_SIZE];
 struct mvm_diff_artifact **artifacts;
 size_t n_artifacts;
 struct mvm_diff_setting **settings;
 size_t n_settings;
};
MVM_API void mvm_template_diff_free(struct mvm_template_diff *diff);
MVM_API int mvm_template_diff(struct mvm *mvm, const char *from, const char *to,
         const struct mvm_progress *progress, struct mvm_template_diff **ret,
         struct mvm_error *err);
struct mvm_verify_problem {
 char *template_id;
 char *revision;
 char *file;
 char *text;
};
struct mvm_verify_result {
 size_t n_templates, n_revisions, n_files;
 uint64_t bytes;
 struct mvm_verify_problem **problems;
 size_t n_problems;
};
MVM_API void mvm_verify_result_free(struct mvm_verify_result *result);
MVM_API int mvm_template_verify(struct mvm *mvm, const char *ref,
    const struct mvm_progress *progress, struct mvm_verify_result **ret,
    struct mvm_error *err);
#define MVM_PRUNE_KEEP 3u
struct mvm_prune_options {
 size_t size;
 const char *id;
 const uint32_t *keep;
 int64_t older_than_s;
 bool dry_run;
};
#define MVM_PRUNE_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_prune_options)
struct mvm_pruned_revision {
 const char *template_id;
 const char *revision;
 int64_t built_at;
 uint64_t disk_bytes;
};
typedef void (*mvm_pruned_fn)(void *arg, const struct mvm_pruned_revision *revision);
struct mvm_prune_result {
 size_t size;
 size_t n_revisions;
 size_t n_in_use;
 size_t n_cached;
 size_t n_blobs;
 uint64_t freed_bytes;
};
#define MVM_PRUNE_RESULT_INIT MVM_STRUCT_INIT(struct mvm_prune_result)
MVM_API int mvm_template_prune(struct mvm *mvm, const struct mvm_prune_options *options,
          mvm_pruned_fn fn, void *arg, const struct mvm_progress *progress,
          struct mvm_prune_result *ret, struct mvm_error *err);
#endif
/* store.h */
#ifndef MVM_STORE_H
#define MVM_STORE_H 
#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/template.h>
enum mvm_apply_result {
 MVM_APPLY_UNCHANGED,
 MVM_APPLY_CREATED,
 MVM_APPLY_UPDATED,
};
MVM_API int mvm_template_config_check(const struct mvm_template_config *config,
          struct mvm_error *err);
MVM_API int mvm_template_apply(struct mvm *mvm, const struct mvm_template_config *config,
          const struct mvm_template_variant *variant, bool no_wait,
          const struct mvm_progress *progress, struct mvm_error *err);
MVM_API int mvm_template_create(struct mvm *mvm, const char *id,
    const struct mvm_template_setting *settings, size_t n_settings,
    bool force, const struct mvm_progress *progress,
    struct mvm_error *err);
MVM_API int mvm_template_role_id(const char *base, const char *role, char **ret,
     struct mvm_error *err);
MVM_API const char *const *mvm_template_presets(void);
MVM_API int mvm_template_init(const char *dir, const char *preset, struct mvm_strings *ret_files,
         struct mvm_error *err);
MVM_API int mvm_template_edit(struct mvm *mvm, const char *id,
         const struct mvm_template_setting *settings, size_t n_settings,
         const struct mvm_progress *progress, struct mvm_error *err);
MVM_API int mvm_template_delete(struct mvm *mvm, const char *id,
    const struct mvm_progress *progress, struct mvm_error *err);
MVM_API int mvm_template_exists(struct mvm *mvm, const char *id, struct mvm_error *err);
struct mvm_template_summary {
 const char *template_id;
 const char *problem;
 int problem_code;
 const char *role, *profile;
 uint8_t vcpus;
 uint32_t mem_mib, data_disk_mib;
 const char *revision;
 int64_t built_at;
 uint64_t rootfs_bytes;
 bool has_snapshot;
 uint64_t snapshot_mem_bytes;
};
typedef int (*mvm_template_fn)(void *arg, const struct mvm_template_summary *summary);
MVM_API int mvm_template_list(struct mvm *mvm, mvm_template_fn fn, void *arg,
         struct mvm_error *err);
enum mvm_start_outlook {
 MVM_START_IMPOSSIBLE,
 MVM_START_WOULD_BOOT,
 MVM_START_WOULD_RESTORE,
};
struct mvm_template_details {
 char *template_id, *flake_ref, *profile, *role;
 unsigned vcpus;
 uint32_t mem_mib, data_disk_mib;
 int64_t created_at, updated_at;
 struct mvm_template_setting *settings;
 size_t n_settings;
 char *revision;
 bool is_current;
 int64_t built_at;
 char *builder;
 char *built_from, *lock;
 char cache_key[MVM_CACHE_KEY_SIZE];
 unsigned built_vcpus;
 uint32_t built_mem_mib, built_data_disk_mib;
 uint64_t rootfs_bytes, vmlinux_bytes, initrd_bytes;
 uint64_t disk_bytes;
 bool has_snapshot;
 int64_t snapshot_at;
 uint64_t snapshot_mem_bytes;
 uint64_t snapshot_state_bytes;
 bool kind_is_snapshot;
 enum mvm_start_outlook start;
 char *backend;
 char *start_reason;
 char *changed_file;
};
MVM_API void mvm_template_details_free(struct mvm_template_details *details);
MVM_API int mvm_template_details(struct mvm *mvm, const char *ref,
     struct mvm_template_details **ret, struct mvm_error *err);
MVM_API int mvm_template_info(struct mvm *mvm, const char *ref, char **ret_json,
         struct mvm_error *err);
struct mvm_backend_info {
 const char *name;
 bool usable;
 char *reason;
 char *binary;
 char *version;
 const char *accelerator;
 char *accelerator_reason;
 bool snapshots, pause, network, shared_memory;
 const char *agent_transport;
 const char *mend;
 const char *mend_reason;
};
MVM_API void mvm_backend_info_free(struct mvm_backend_info *info);
MVM_API int mvm_backend_list(struct mvm *mvm, struct mvm_backend_info ***ret, size_t *ret_n,
        struct mvm_error *err);
MVM_API void mvm_backend_list_free(struct mvm_backend_info **list, size_t n);
#endif
/* stream.h */
#ifndef MVM_STREAM_H
#define MVM_STREAM_H 
#include <mvm/error.h>
#include <mvm/instance.h>
#include <mvm/mvm.h>
#include <mvm/struct.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
enum mvm_stream_result {
 MVM_STREAM_WAIT = 0,
 MVM_STREAM_ITEM = 1,
 MVM_STREAM_END = 2,
};
struct mvm_exec;
struct mvm_exec_start_options {
 size_t size;
 const char *const *command;
 const char *const *env;
 const char *workdir, *user;
 bool input;
 bool tty;
 uint16_t rows, columns;
 int64_t timeout_ms;
};
#define MVM_EXEC_START_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_exec_start_options)
enum mvm_exec_event_kind {
 MVM_EXEC_STARTED,
 MVM_EXEC_STDOUT,
 MVM_EXEC_STDERR,
 MVM_EXEC_EXITED,
};
struct mvm_exec_event {
 enum mvm_exec_event_kind kind;
 const void *data;
 size_t len;
 int64_t pid;
 int status;
 int signal;
};
MVM_API int mvm_exec_start(struct mvm *mvm, const char *instance,
      const struct mvm_exec_start_options *options, struct mvm_exec **ret,
      struct mvm_error *err);
MVM_API int mvm_exec_fd(const struct mvm_exec *exec);
MVM_API short mvm_exec_events(const struct mvm_exec *exec);
MVM_API int mvm_exec_timeout_ms(const struct mvm_exec *exec);
MVM_API int mvm_exec_read(struct mvm_exec *exec, const struct mvm_exec_event **ret,
     struct mvm_error *err);
MVM_API int mvm_exec_write(struct mvm_exec *exec, const void *data, size_t len,
      struct mvm_error *err);
MVM_API int mvm_exec_close_stdin(struct mvm_exec *exec, struct mvm_error *err);
MVM_API int mvm_exec_resize(struct mvm_exec *exec, uint16_t rows, uint16_t columns,
       struct mvm_error *err);
MVM_API int mvm_exec_signal(struct mvm_exec *exec, int signal, struct mvm_error *err);
MVM_API void mvm_exec_close(struct mvm_exec *exec);
struct mvm_log_stream;
struct mvm_log_stream_options {
 size_t size;
 bool console;
 bool workload;
 bool follow;
 int64_t tail;
 const char *since;
};
#define MVM_LOG_STREAM_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_log_stream_options)
MVM_API int mvm_log_stream_open(struct mvm *mvm, const char *instance,
    const struct mvm_log_stream_options *options,
    struct mvm_log_stream **ret, struct mvm_error *err);
MVM_API int mvm_log_stream_fd(const struct mvm_log_stream *stream);
MVM_API int mvm_log_stream_read(struct mvm_log_stream *stream, const struct mvm_log_entry **ret,
    struct mvm_error *err);
MVM_API void mvm_log_stream_close(struct mvm_log_stream *stream);
struct mvm_event_stream;
struct mvm_event_stream_options {
 size_t size;
 bool follow;
 const char *since;
};
#define MVM_EVENT_STREAM_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_event_stream_options)
MVM_API int mvm_event_stream_open(struct mvm *mvm, const struct mvm_event_stream_options *options,
      struct mvm_event_stream **ret, struct mvm_error *err);
MVM_API int mvm_event_stream_fd(const struct mvm_event_stream *stream);
MVM_API int mvm_event_stream_read(struct mvm_event_stream *stream, const struct mvm_event **ret,
      struct mvm_error *err);
MVM_API void mvm_event_stream_close(struct mvm_event_stream *stream);
#endif
/* struct.h */
#ifndef MVM_STRUCT_H
#define MVM_STRUCT_H 
#include <stddef.h>
#ifdef __cplusplus
#define MVM_STRUCT_INIT(type) \
 [] { \
  type init_ = {}; \
  init_.size = sizeof(init_); \
  return init_; \
 }()
#else
#define MVM_STRUCT_INIT(type) \
 { \
  .size = sizeof(type) \
 }
#endif
#endif
/* template.h */
#ifndef MVM_TEMPLATE_H
#define MVM_TEMPLATE_H 
#include <mvm/error.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#define MVM_DEFAULT_PROFILE "minimal"
#define MVM_DEFAULT_ROLE "worker"
#define MVM_DEFAULT_VCPUS 2
#define MVM_DEFAULT_MEM_MIB 1024
#define MVM_VCPUS_MIN 1u
#define MVM_VCPUS_MAX 32u
#define MVM_MEM_MIB_MIN 96u
#define MVM_DATA_DISK_MIB_MIN 8u
#define MVM_DATA_DISK_MIB_MAX (8u << 20)
#define MVM_TEMPLATE_ID_SIZE 64
#define MVM_REVISION_SIZE 65
#define MVM_CACHE_KEY_SIZE 65
struct mvm_strings {
 char **v;
 size_t n;
};
MVM_API void mvm_strings_done(struct mvm_strings *l);
struct mvm_template_config;
struct mvm_template_variant;
enum mvm_template_config_flags {
 MVM_TEMPLATE_CONFIG_STRICT = 1u << 0,
};
MVM_API int mvm_template_config_load(const char *path, unsigned flags,
         struct mvm_template_config **ret,
         struct mvm_strings *ret_warnings, struct mvm_error *err);
MVM_API int mvm_template_config_parse(const char *text, size_t len, const char *name,
          const char *base_dir, unsigned flags,
          struct mvm_template_config **ret,
          struct mvm_strings *ret_warnings, struct mvm_error *err);
MVM_API void mvm_template_config_free(struct mvm_template_config *config);
MVM_API const char *mvm_template_config_template_id(const struct mvm_template_config *config);
MVM_API const char *mvm_template_config_flake_ref(const struct mvm_template_config *config);
MVM_API const char *mvm_template_config_profile(const struct mvm_template_config *config);
MVM_API size_t mvm_template_config_variant_count(const struct mvm_template_config *config);
MVM_API const struct mvm_template_variant *mvm_template_config_variant(
 const struct mvm_template_config *config, size_t index);
MVM_API const char *mvm_template_variant_name(const struct mvm_template_variant *variant);
MVM_API const char *mvm_template_variant_role(const struct mvm_template_variant *variant);
MVM_API const char *mvm_template_variant_profile(const struct mvm_template_variant *variant);
MVM_API unsigned mvm_template_variant_vcpus(const struct mvm_template_variant *variant);
MVM_API uint32_t mvm_template_variant_mem_mib(const struct mvm_template_variant *variant);
MVM_API uint32_t mvm_template_variant_data_disk_mib(const struct mvm_template_variant *variant);
struct mvm_template_setting {
 const char *key;
 const char *const *values;
 size_t n_values;
};
MVM_API void mvm_template_cache_key(const char *flake_lock_hash, const char *profile,
        const char *role, char ret[MVM_CACHE_KEY_SIZE]);
MVM_API bool mvm_template_id_valid(const char *s);
MVM_API bool mvm_role_valid(const char *s);
MVM_API bool mvm_revision_valid(const char *s);
#endif
/* visibility.h */
#ifndef MVM_VISIBILITY_H
#define MVM_VISIBILITY_H 
#ifdef __cplusplus
#define MVM_API extern "C" __attribute__((visibility("default")))
#else
#define MVM_API __attribute__((visibility("default")))
#endif
struct mvm;
#endif
/* volume.h */
#ifndef MVM_VOLUME_H
#define MVM_VOLUME_H 
#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct mvm_volume_info {
 char *name;
 char *path;
 uint64_t bytes;
 bool in_use;
 char *problem;
};
MVM_API void mvm_volume_info_free(struct mvm_volume_info *info);
MVM_API int mvm_volume_inspect(struct mvm *mvm, const char *name,
          const struct mvm_progress *progress, struct mvm_volume_info **ret,
          struct mvm_error *err);
MVM_API int mvm_volume_list(struct mvm *mvm, const struct mvm_progress *progress,
       struct mvm_volume_info ***ret, size_t *ret_n, struct mvm_error *err);
MVM_API void mvm_volume_list_free(struct mvm_volume_info **list, size_t n);
MVM_API int mvm_volume_remove(struct mvm *mvm, const char *name,
         const struct mvm_progress *progress, struct mvm_error *err);
#endif
