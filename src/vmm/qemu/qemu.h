/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_QEMU_QEMU_H
#define VMM_QEMU_QEMU_H

/*
 * The QEMU backend: `qemu-system-x86_64 -M microvm`, with KVM or TCG.
 *
 * args.c decides what QEMU is told, probe.c what it is, process.c starts and ends it, user.c says
 * as whom it runs, walls.c what it may do, files.c gives it its files, migrate.c saves and loads
 * its device state.  QEMU inherits connected sockets for its control protocol, the agent's port and
 * the console, so that nothing has a path and nothing needs to be polled for.
 */

#include "net/qmp.h"
#include "vmm/box.h"
#include "vmm/lend.h"
#include "vmm/uid.h"
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
	/* files, where there are such */
	QEMU_FD_MEMORY,
	QEMU_FD_KERNEL,
	QEMU_FD_INITRD,
	QEMU_FD_DRIVES, /* and the following */
	QEMU_FD_END = QEMU_FD_DRIVES + MVM_ARRAY_SIZE(((struct vmm_config *)NULL)->drives),
};

#define QEMU_FD_PATH "/proc/self/fd/%d"

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

/* For facts: what args.c says of the machine and the guest-visible devices, without host names. */
const char *qemu_machine(enum vmm_accel accel);
int qemu_device_layout(const struct vmm_config *config, char **ret, struct mvm_error *err);

/* files.c: what QEMU opens, by the numbers that it has there; -1: no such file. */
struct qemu_files {
	int fds[QEMU_FD_END];	 /* the channels are not in here */
	bool given[QEMU_FD_END]; /* which belong to QEMU's user for now */
};
void qemu_files_init(struct qemu_files *f);
/* What QEMU shall write becomes the user's.  *f was initialised, and is to be done also after a
 * failure; whatever config names must be there. */
int qemu_files_open(struct qemu_files *f, const struct vmm_config *config,
		    const struct own_uid *user, struct mvm_error *err);
/* What QEMU has written belongs to us again. */
void qemu_files_take_back(struct qemu_files *f);
void qemu_files_done(struct qemu_files *f);

/* user.c: what the process becomes before it is QEMU. */
struct qemu_child {
	struct own_uid user; /* none: it runs as we do */
	gid_t group;	     /* may use /dev/kvm; 0: it needs none */
	unsigned isolation;  /* enum vmm_isolation: what it is to have */
	bool network, kvm, captures;
	unsigned vcpus;
	char *prefix;		   /* of the folders that have QEMU's libraries and firmware */
	const char *binary;	   /* borrowed */
	uint64_t file_max_bytes;   /* no file that it writes may be longer */
	const struct lend *memory; /* NULL: it opens all that it may */
	int lend_fd;		   /* in the child: where lend_in_child() reports to */
	struct box box;
};
int qemu_child_init(struct qemu_child *child, const struct vmm_probe *probe,
		    const struct vmm_config *config, struct mvm_error *err);
void qemu_child_done(struct qemu_child *child);
/* process_spawn() as that user, in namespaces if it is to have them and the host lets us; isolation
 * says afterwards. */
int qemu_child_spawn(struct qemu_child *child, const struct process_spec *spec,
		     struct process *ret);
unsigned qemu_confines(const struct vmm_probe *probe, int dir_fd, const char **ret_obstacle);

/* walls.c: for process_spec.before_exec, what QEMU may open, use up and ask of the kernel. */
int qemu_walls_enter(void *child);
/* What of enum vmm_isolation that is, here. */
unsigned qemu_walls(void);

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
	struct qemu_child child;
	struct qemu_files files;
	struct lend memory; /* of a clone, which gets it for reading only */
};

/*
 * Why a wait has failed, given the code and text that err already holds: when QEMU is gone or
 * going, wait for its end (until the deadline, ten seconds at most) and say with which status and
 * words.  Returns the code to return.
 */
int qemu_explain(struct qemu *q, int r, int64_t deadline_ns, struct mvm_error *err);

/* migrate.c */
int qemu_snapshot(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);
int qemu_restore(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err);

#endif
