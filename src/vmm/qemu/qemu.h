/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_QEMU_QEMU_H
#define VMM_QEMU_QEMU_H

/*
 * The QEMU backend: `qemu-system-x86_64 -M microvm`, with KVM or TCG.
 *
 * args.c decides what QEMU is told, probe.c what it is, process.c starts and ends it, migrate.c
 * saves and loads its device state.  QEMU inherits connected sockets for its control protocol, the
 * agent's port and the console, so that nothing has a path and nothing needs to be polled for.
 */

#include "net/qmp.h"
#include "vmm/lend.h"
#include "vmm/vmm.h"
#include "vmm/words.h"

extern const struct vmm_ops vmm_qemu;

#define QEMU_BINARY	"qemu-system-x86_64"
#define QEMU_BINARY_ENV "MVM_QEMU"

/* Descriptors as QEMU has them; process_spawn() numbers its list from 3. */
enum qemu_fd {
	QEMU_FD_QMP = 3,
	QEMU_FD_AGENT,
	QEMU_FD_CONSOLE,
	QEMU_FD_MEMORY_DIR, /* not with VMM_MEMORY_PRIVATE */
	QEMU_FD_OWN_DIR,    /* of drives of its own */
};

#define QEMU_NETDEV	  "net0"
#define QEMU_FORWARD_SIZE 80 /* of "tcp:127.0.0.1:8080-:80" */

/* TCG does a string instruction step by step, and with ERMS the kernel copies by single bytes:
 * eight at a time without it. */
#define QEMU_CPU_TCG "max,-erms,-fsrm"

/* args.c.  Pure: the same probe and config give the same text. */
int qemu_args(const struct vmm_probe *probe, const struct vmm_config *config, struct strv *ret,
	      struct mvm_error *err);
int qemu_cmdline(const struct vmm_probe *probe, const struct vmm_config *config,
		 const char *additions, char **ret, struct mvm_error *err);
int qemu_forward_text(const struct vmm_forward *f, char ret[QEMU_FORWARD_SIZE],
		      struct mvm_error *err);

/* facts.c: also asks for the CPU, with KVM. */
int qemu_facts(const struct vmm_probe *probe, const struct vmm_config *config, struct strv *ret,
	       struct mvm_error *err);
/* The same without asking; cpu is the fingerprint, unused with TCG. */
int qemu_facts_for(const struct vmm_probe *probe, const struct vmm_config *config, const char *cpu,
		   struct strv *ret, struct mvm_error *err);

/* Where QEMU finds the memory file.  The caller's; NULL without memory. */
char *qemu_memory_path(const struct vmm_config *config);

/* For facts: what args.c says of the machine and the guest-visible devices, without host names. */
const char *qemu_machine(enum vmm_accel accel);
int qemu_device_layout(const struct vmm_config *config, char **ret, struct mvm_error *err);

/* probe.c */
int qemu_probe(struct vmm_probe *ret, struct mvm_error *err);
/* "7.2.22 (Debian ...)" from what --version prints; NULL when it is not QEMU's.  Pure; *ret_len
 * bytes of text. */
const char *qemu_version_of(const char *text, size_t *ret_len);

enum qemu_migration { MIGRATION_NONE, MIGRATION_COMPLETED, MIGRATION_FAILED };

struct qemu {
	struct vmm vmm; /* first */
	struct loop *loop;
	struct qmp *qmp;
	struct loop_source *exit_source;
	struct words words; /* its standard error, and output */
	enum qemu_migration migration;
	struct lend memory; /* of a clone, which gets it for reading only */
};

/*
 * Why a wait has failed, given the code and text that err already holds: when QEMU is gone or
 * going, wait for its end (until the deadline, two seconds at most) and say with which status and
 * words.  Returns the code to return.
 */
int qemu_explain(struct qemu *q, int r, int64_t deadline_ns, struct mvm_error *err);

/* migrate.c */
int qemu_snapshot(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);
int qemu_restore(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);

#endif
