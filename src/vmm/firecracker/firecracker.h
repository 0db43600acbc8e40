/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_FIRECRACKER_FIRECRACKER_H
#define VMM_FIRECRACKER_FIRECRACKER_H

/*
 * The Firecracker backend: KVM only, told what to do over its API on a Unix socket.
 *
 * requests.c decides what it is told, probe.c what it is, folder.c lays out its working folder,
 * process.c starts and ends it, api.c speaks to it, agent.c carries the agent's vsock connection,
 * snapshot.c saves and loads its state, crc64.c checks that, jail.c is about Firecracker's jailer.
 *
 * A snapshot names its disk and sockets by path and has to find them there again, so every path
 * is a bare name in the working folder, which each VM has for itself: clones never meet.
 *
 * Source: Firecracker's src/firecracker/swagger/firecracker.yaml, docs/vsock.md and
 * docs/snapshotting, release 1.16.1.
 */

#include "net/http.h"
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

struct firecracker {
	struct vmm vmm; /* first */
	struct loop *loop;
	struct http *http;
	struct loop_source *exit_source;
	struct words words;
	struct fc_folder folder;
	struct fc_agent agent;
	struct fc_jail jail;
	struct netns *netns;	     /* NULL without a network */
	char *binary, *state_format; /* the probe's */
	bool pause_breaks_vsock;     /* see fc_pause_breaks_vsock() */
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

/* What describes the machine before it boots, in order.  -EINVAL when a name is not UTF-8. */
int fc_requests_config(const struct vmm_config *config, struct fc_requests *ret,
		       struct mvm_error *err);

enum fc_action {
	FC_START,
	FC_PAUSE,
	FC_RESUME,
	FC_SNAPSHOT_DIFF,
	FC_SNAPSHOT_FULL,
	FC_CTRL_ALT_DEL,
	FC_LOAD,
};

int fc_requests_action(enum fc_action action, struct fc_requests *ret, struct mvm_error *err);

/* The VM's name as Firecracker accepts it: letters, digits and hyphens, at most 64. */
#define FC_ID_SIZE 65
void fc_id(const char *name, char ret[FC_ID_SIZE]);

int fc_cmdline(const struct vmm_probe *probe, const struct vmm_config *config,
	       const char *additions, char **ret, struct mvm_error *err);

/* What the guest sees, without host names; a snapshot depends on it. */
int fc_device_layout(const struct vmm_config *config, char **ret, struct mvm_error *err);

/* ---- facts.c ---- */

int fc_facts(const struct vmm_probe *probe, const struct vmm_config *config, struct strv *ret,
	     struct mvm_error *err);
/* The same without asking the host. */
int fc_facts_for(const struct vmm_probe *probe, const struct vmm_config *config, const char *cpu,
		 const char *host_kernel, struct strv *ret, struct mvm_error *err);

/* ---- probe.c ---- */

int fc_probe(struct vmm_probe *ret, struct mvm_error *err);

/* "1.16.1" from what --version prints; NULL when it is not Firecracker's.  Pure. */
const char *fc_version_of(const char *text, size_t *ret_len);

/* "10.0.0" from what --snapshot-version or --describe-snapshot prints; NULL if it is none. */
const char *fc_format_of(const char *text, size_t *ret_len);

/* Is this version at least major.minor? */
bool fc_version_at_least(const char *version, unsigned major, unsigned minor);

/*
 * Does a pause without a snapshot cut off what the host sends to the guest?  Releases 1.16.x wait
 * after a resume for the guest to acknowledge an event that was never sent.
 * Source: Firecracker's CHANGELOG.md, #6100, fixed after 1.16.1.
 */
bool fc_pause_breaks_vsock(const char *version);

/* ---- api.c ---- */

/* Make the calls, one after the other.  -EREMOTEIO with Firecracker's fault message, or with its
 * last words when it has gone. */
int fc_do(struct firecracker *f, const struct fc_requests *requests, int64_t deadline_ns,
	  struct mvm_error *err);

/*
 * Why a wait has failed, given the code and text that err already holds: when Firecracker is gone
 * or going, wait for its end (until the deadline, ten seconds at most) and say with which status
 * and words.  Returns the code to return.
 */
int fc_explain(struct firecracker *f, int r, int64_t deadline_ns, struct mvm_error *err);

/* ---- snapshot.c ---- */

int fc_snapshot(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);
int fc_restore(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);

/* ---- crc64.c ---- */

/*
 * CRC-64/Jones: reflected, polynomial 0xad93d23594c935a9, no inversions.  crc is that of what came
 * before, 0 at the start.  Firecracker's state files end in the little-endian CRC of the rest, so
 * that the CRC of a whole one is 0.
 */
uint64_t crc64_jones(uint64_t crc, const void *data, size_t len);

#endif
