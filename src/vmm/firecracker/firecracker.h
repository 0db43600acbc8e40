/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_FIRECRACKER_FIRECRACKER_H
#define VMM_FIRECRACKER_FIRECRACKER_H

/*
 * The Firecracker backend: KVM only, controlled by an HTTP API on a Unix socket.
 *
 * requests.c makes the requests, probe.c finds the version, folder.c lays out the working folder,
 * body.c starts and ends Firecracker, process.c talks to it, api.c sends the requests, agent.c
 * carries the agent's vsock connection, snapshot.c saves and loads device state, saved.c keeps
 * clones that run, crc64.c checks device state, jail.c uses the jailer, walls.c stands in for it.
 *
 * A snapshot names its disk and sockets by path, and a restore finds them at the same paths.  So
 * every path is a bare name in the working folder, and each VM has a working folder of its own.
 *
 * Source: Firecracker's src/firecracker/swagger/firecracker.yaml, docs/vsock.md and
 * docs/snapshotting, release 1.16.1.
 */

#include "net/http.h"
#include "vmm/box.h"
#include "vmm/firecracker/agent.h"
#include "vmm/firecracker/folder.h"
#include "vmm/firecracker/jail.h"
#include "vmm/netns/netns.h"
#include "vmm/vmm.h"
#include "vmm/words.h"

extern const struct vmm_ops vmm_firecracker;

#define FC_BINARY     "firecracker"
#define FC_BINARY_ENV "MVM_FIRECRACKER"

#define FC_STATE_FILE "vmstate.bin" /* as vmm.h has it */
/* device state of a kept clone; vmstate.bin in its folder is mvm's, and not for Firecracker */
#define FC_DEVICES_FILE "devices.bin"

/* Firecracker's process: body.c.  Nothing there reads a byte that Firecracker sends, but for the
 * checks of its device state. */
struct fc_body {
	struct vmm_body body; /* first */
	struct fc_folder folder;
	struct fc_jail jail;
	struct netns *netns; /* NULL without a network */
	struct box box;
	char *binary, *state_format; /* the probe's */
	unsigned isolation;
	bool pause_breaks_vsock; /* see fc_pause_breaks_vsock() */
	bool captured;		 /* its memory is to be */
	bool needs_proc;	 /* to find the file of its memory */
	int memory_fd;		 /* a clone's memory file; else -1 */
	bool connected;		 /* to its API */
	bool quiet;		 /* nothing comes from the network: see fc_halt() */
};

/* walls.c: VMM_ISOLATION_LANDLOCK, if a Firecracker without its jailer gets that wall here. */
unsigned fc_walls_there_are(void);

/* Put up that wall.  Call this in the child, last before exec, when it has the descriptors of enum
 * fc_fd and the working folder as its own.  Only system calls.  arg: struct fc_walls.  Returns 0 or
 * -errno; -ENOTSUP only in a box. */
struct fc_walls {
	const char *binary;
	const struct vmm_config *config;
	bool boxed; /* in namespaces of its own: these folders lead nowhere else then */
};
int fc_walls_enter(void *arg);

/* Start a Firecracker without its jailer and without a network: in namespaces of its own, which
 * isolation then has, unless this host refuses them.  spec has fc_walls_enter().  Returns as
 * process_spawn(). */
int fc_walls_spawn(struct box *box, unsigned *isolation, const struct process_spec *spec,
		   struct process *ret);
/* The namespaces that this would be here: VMM_ISOLATION_*. */
unsigned fc_walls_namespaces(void);

struct firecracker {
	struct vmm vmm; /* first */
	struct loop *loop;
	struct http *http;
	struct loop_source *exit_source;
	struct words words;
	struct fc_agent agent;
	struct vmm_keeper keeper;
	bool network;
	bool loaded;		 /* by map_memory(): restore() only lets the guest run */
	bool paused;		 /* by Firecracker itself, where the process is stopped elsewhere */
	struct vmm_network rate; /* its bytes_per_s and packets_per_s alone */
};

/* ---- requests.c: pure ---- */

/* One call of the API.  path and body are owned. */
struct fc_request {
	const char *method; /* static */
	char *path;
	char *body;
};

#define FC_REQUESTS_MAX 16u

struct fc_requests {
	struct fc_request v[FC_REQUESTS_MAX];
	size_t n;
};
void fc_requests_done(struct fc_requests *l);
DEFINE_AUTO_DONE(fc_requests, fc_requests_done)

/* The requests that describe the machine before it boots, in order.  -EINVAL: a name is not UTF-8.
 * */
int fc_requests_config(const struct vmm_config *config, struct fc_requests *ret,
		       struct mvm_error *err);

enum fc_action {
	FC_START,
	FC_PAUSE,
	FC_RESUME,
	FC_SNAPSHOT_DIFF,
	FC_SNAPSHOT_FULL,
	FC_SAVE_DEVICES, /* a snapshot without its memory: see saved.c */
	FC_CTRL_ALT_DEL,
	FC_LOAD,
	FC_LOAD_PAUSED,
};

int fc_requests_action(enum fc_action action, struct fc_requests *ret, struct mvm_error *err);

/* Let a clone run, by FC_LOAD or FC_RESUME, and then the network's rate, in place of the one in the
 * snapshot.  Firecracker changes a rate once the machine runs.  rules: NULL without a network. */
int fc_requests_run(enum fc_action action, const struct vmm_network *rules, struct fc_requests *ret,
		    struct mvm_error *err);

/* The name in the working folder of a drive's file, which may lie in a folder of the revision: a
 * clone's own image has the name of the one that its guest was captured with. */
const char *fc_drive_name(const struct vmm_drive *drive);

/* The VM's name as Firecracker accepts it: letters, digits and hyphens, at most 64. */
#define FC_ID_SIZE 65
void fc_id(const char *name, char ret[FC_ID_SIZE]);

int fc_cmdline(const struct vmm_probe *probe, const struct vmm_config *config,
	       const char *additions, char **ret, struct mvm_error *err);

/* The guest's devices, without names of the host; a snapshot depends on it. */
int fc_device_layout(const struct vmm_config *config, char **ret, struct mvm_error *err);

/* ---- facts.c ---- */

int fc_facts(const struct vmm_probe *probe, const struct vmm_config *config, struct strv *ret,
	     struct mvm_error *err);
/* fc_facts() without asking the host. */
int fc_facts_for(const struct vmm_probe *probe, const struct vmm_config *config, const char *cpu,
		 const char *host_kernel, struct strv *ret, struct mvm_error *err);

/* ---- probe.c ---- */

int fc_probe(const struct mvm_progress *progress, struct vmm_probe *ret, struct mvm_error *err);

/* Find "1.16.1" in the output of --version; NULL: it is not Firecracker's output.  Pure. */
const char *fc_version_of(const char *text, size_t *ret_len);

/* Find "10.0.0" in the output of --snapshot-version or --describe-snapshot; NULL: no version. */
const char *fc_format_of(const char *text, size_t *ret_len);

/* Is this version at least major.minor? */
bool fc_version_at_least(const char *version, unsigned major, unsigned minor);

/*
 * Does a pause without a snapshot break the vsock from host to guest?  After a resume, releases
 * 1.16.x wait for the guest to acknowledge an event that they never sent.
 * Source: Firecracker's CHANGELOG.md, #6100, fixed after 1.16.1.
 */
bool fc_pause_breaks_vsock(const char *version);

/* ---- body.c: the ops of these names ---- */

int fc_start(const struct vmm_probe *probe, const struct vmm_config *config, struct loop *loop,
	     struct vmm_body **ret, struct vmm_ends *ret_ends, struct mvm_error *err);
int fc_seal(struct vmm_body *b, struct mvm_error *err);
int fc_connect(struct vmm_body *b);
int fc_halt(struct vmm_body *b, enum vmm_halt how);
bool fc_host_swaps(void);
int fc_open_port(struct vmm_body *b, const struct vmm_forward *forward, struct mvm_error *err);
int fc_set_rules(struct vmm_body *b, const struct vmm_network *rules, struct mvm_error *err);
void fc_take_back(struct vmm_body *b);
void fc_end(struct vmm_body *b);
int fc_refuses(const struct vmm_probe *probe, char **ret_why);
unsigned fc_confines(const struct vmm_probe *probe, int dir_fd, const char **ret_obstacle);

/* ---- api.c ---- */

/* Make the calls, one after the other.  -EREMOTEIO with Firecracker's fault message, or, when
 * Firecracker has ended, with the last lines of its standard error. */
int fc_act(struct firecracker *f, enum fc_action action, int64_t deadline_ns,
	   struct mvm_error *err);
/* Halt its process.  Returns 0; 1: ask Firecracker; or an error with its sentence. */
int fc_halt_process(struct firecracker *f, enum vmm_halt how, struct mvm_error *err);
int fc_pause_by_itself(struct firecracker *f, int64_t deadline_ns, struct mvm_error *err);
int fc_do(struct firecracker *f, const struct fc_requests *requests, int64_t deadline_ns,
	  struct mvm_error *err);

/*
 * Explain why a wait failed; err has the code and text so far.  When Firecracker has ended or is
 * ending, wait for its end (until the deadline, at most ten seconds) and describe its status and
 * standard error.  Returns the code to return.
 */
int fc_explain(struct firecracker *f, int r, int64_t deadline_ns, struct mvm_error *err);

/* ---- snapshot.c ---- */

/* Read device state from a folder, and check that it is whole.  ret: the caller's. */
int fc_read_state(int dir_fd, const char *name, char **ret, size_t *ret_len, struct mvm_error *err);

int fc_move_state(struct vmm_body *b, int dir_fd, bool store, struct mvm_error *err);
int fc_snapshot(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);
int fc_map_memory(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);
int fc_restore(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);

/* ---- saved.c: the ops of these names ---- */

int fc_save_devices(struct vmm *v, int fd, int64_t deadline_ns, struct mvm_error *err);
int64_t fc_save_pages(const struct vmm_body *b, int to_fd, struct mvm_error *err);
int fc_load_pages(const struct vmm_body *b, int from_fd, struct mvm_error *err);
int fc_finish_state(const struct vmm_body *b, int base_fd, int raw_fd, int to_fd,
		    struct mvm_error *err);

/* ---- crc64.c ---- */

/*
 * CRC-64/Jones: reflected, polynomial 0xad93d23594c935a9, no inversions.  crc is the CRC of the
 * bytes before, 0 at the start.  A state file of Firecracker ends in the little-endian CRC of its
 * other bytes, so the CRC of the whole file is 0.
 */
uint64_t crc64_jones(uint64_t crc, const void *data, size_t len);

#endif
