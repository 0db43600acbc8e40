/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_RECORD_H
#define INSTANCE_RECORD_H

/*
 * instance.json: an instance's settings and state.
 *
 * The starter writes the first record, with everything that the supervisor needs besides the
 * revision.  From then on only the supervisor writes it, whole each time: by rename or, when a full
 * disk refuses that, in place.  Neither the record nor the VM survives a crash of the host, so
 * nothing is fsynced and a start does not wait for the disk.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/own.h"
#include "base/str.h"
#include "instance/own_disk.h"
#include "instance/usage.h"
#include "model/template.h"
#include "vmm/vmm.h"

#define RECORD_NAME	    "instance.json"
#define RECORD_FORWARDS_MAX 64u
#define RECORD_STAGES_MAX   8u

enum record_state {
	RECORD_STARTING,
	RECORD_RUNNING,
	RECORD_PAUSED,
	RECORD_EXITED,	  /* the guest ended, or was stopped */
	RECORD_FAILED,	  /* it did not start, its VMM died, or its kernel panicked */
	RECORD_SUSPENDED, /* its state is in its folder (instance/saved.h), and it has no VMM */
};
const char *record_state_name(enum record_state state);

enum record_health {
	RECORD_HEALTH_NONE,	/* does not run */
	RECORD_HEALTH_STARTING, /* not asked yet */
	RECORD_HEALTH_HEALTHY,
	RECORD_HEALTH_UNHEALTHY,
};
const char *record_health_name(enum record_health health);

/* Purpose of an instance.  Only the user's instances are listed. */
enum record_purpose {
	RECORD_FOR_USER,
	RECORD_FOR_CAPTURE, /* its memory becomes a snapshot */
	RECORD_FOR_CHECK,   /* proves that a snapshot can be restored */
	RECORD_FOR_POOL,    /* restored and paused until a start takes it */
};

/* When to start a VM again that has ended. */
enum record_restart {
	RECORD_RESTART_NO,
	RECORD_RESTART_ON_FAILURE, /* its VM failed, or its workload's status is not 0 */
	RECORD_RESTART_ALWAYS,
	RECORD_RESTART_UNLESS_STOPPED,
};

/* What to do with a VM whose time is over. */
enum record_then {
	RECORD_THEN_STOP,
	RECORD_THEN_SUSPEND,
};

/* Where the guest's memory comes from. */
enum record_memory {
	RECORD_MEMORY_OWN,     /* it has booted */
	RECORD_MEMORY_SHARED,  /* it shares the snapshot's page cache until it writes */
	RECORD_MEMORY_SPARSE,  /* it has a copy of the snapshot's memory, or will get one */
	RECORD_MEMORY_REFLINK, /* a copy by reflink: it shares blocks on disk, but no page cache */
};

/* What a start continues. */
enum record_continues {
	RECORD_CONTINUES_NOTHING,
	RECORD_CONTINUES_SUSPENDED, /* the state in the instance's own folder */
	RECORD_CONTINUES_FORK,	    /* that of another instance, with a new identity */
};

struct record_stage {
	char name[24];
	int64_t ns; /* since the start began */
};

/* A host folder, or a file, that the guest has a copy of. */
/* What a volume's host was when the VM was started. */
enum record_volume_kind {
	RECORD_VOLUME_UNKNOWN, /* an older mvm started it */
	RECORD_VOLUME_FILE,
	RECORD_VOLUME_FOLDER,
};

struct record_volume {
	char *host, *guest; /* absolute */
	char *name;	    /* of a named volume; host is its folder then; else NULL */
	bool write_back;
	enum record_volume_kind kind;
};
#define RECORD_VOLUMES_MAX 16u

/* A destination that the network refused. */
struct record_refusal {
	char target[254]; /* an address, or the name that was asked for */
	uint16_t port;	  /* 0: none */
	char protocol[8], reason[16];
	uint64_t count;
	char last_at[32]; /* RFC 3339 */
};
#define RECORD_REFUSALS_MAX 8u

/* A disk of this instance's own, which is a copy. */
struct record_disk {
	bool present;
	uint32_t size_mib;
	bool reflinked; /* the copy shares blocks; false: it is a sparse copy */
};

struct record {
	uint32_t schema_version; /* of the file that was read */
	char *name, *template_id, *revision;
	char *former_name; /* before its last rename, which may have ended half-way; NULL: none */
	enum record_state state;
	char *backend, *backend_version, *accelerator;
	bool restore;			 /* start kind: "restore" or "boot" */
	bool own_image;			 /* its root is its snapshot's image, not its revision's */
	char *reason;			 /* why this kind; NULL: none worth stating */
	bool from_pool;			 /* it was taken from a pool */
	enum record_continues continues; /* until its guest runs */
	char *forked_from;		 /* the instance that it is a fork of; NULL: none */
	bool no_agent;			 /* it boots its image's own initrd: health stays NONE */
	bool attached;			 /* stop and remove it when the starter goes away */
	bool held;	       /* stop it when the starter goes away before letting go of it */
	uint64_t folder_inode; /* of the folder that it was made for; 0: unknown */
	enum record_purpose purpose;
	unsigned vcpus;
	uint32_t mem_mib;
	enum record_memory memory;
	char *cmdline; /* the kernel's whole command line */
	struct vmm_forward forwards[RECORD_FORWARDS_MAX];
	size_t n_forwards;
	struct record_volume volumes[RECORD_VOLUMES_MAX];
	size_t n_volumes;
	struct record_disk disks[OWN_DISKS];
	char *created_at, *started_at, *ended_at; /* RFC 3339; NULL while it has not happened */
	struct mvm_strings labels;		  /* the user's "KEY=VALUE" */
	struct strv env;			 /* the workload's variables, over the template's */
	struct strv network_allow, network_deny; /* rules, the template's among them */
	struct strv network_dns;		 /* in place of the template's and the host's */
	uint64_t network_refused;		 /* how often a rule refused the guest something */
	struct record_refusal network_refusals[RECORD_REFUSALS_MAX]; /* the latest comes first */
	size_t n_network_refusals;
	char *network_problem; /* why the guest has no network though it should; NULL: it has */
	char *suspend_problem; /* why a limit could not suspend it; NULL: none has failed to */
	char *disk_problem;    /* why one of its disks failed; NULL: none did */
	char *hostname;	       /* NULL in a first record: the guest is called by its name */
	char *machine_id;
	int64_t supervisor_pid, vmm_pid; /* 0: none */
	struct record_stage stages[RECORD_STAGES_MAX];
	size_t n_stages;
	char *error; /* why it failed */

	/* what the starter wants beyond the machine */
	uint64_t log_max_bytes; /* of each log; 0: the default */
	enum record_restart restart;
	unsigned restart_max; /* of ON_FAILURE, in a row; 0: the default */
	bool keep_running;    /* its workload's end does not end it */
	bool no_workload;     /* it starts none */
	bool remove_at_end;   /* remove it when it has ended, even if not attached */
	int64_t ttl_ms;	      /* its time to live; 0: no end */
	enum record_then ttl_action;
	int64_t on_idle_ms; /* and the time that nobody may use it; 0: no limit */
	enum record_then on_idle_action;
	int64_t volume_timeout_ms; /* to copy its volumes in, or back; 0: the default */

	/* what became of it */
	char *boot_id;	  /* of the host: a VM does not outlive its boot */
	char *expires_at; /* when its time to live is over */
	enum record_health health;
	char *health_message; /* what the last failed check said */
	unsigned restarts;    /* how often it was started again */
	bool workload_ended;  /* the template's command has ended */
	bool stopping;	      /* it is being ended: only its supervisor copies volumes back now */
	bool volumes_lost;    /* at its end some volumes did not come back; error names them */
	char *volumes_note;   /* what the last copy of its volumes left out; NULL: nothing */
	bool has_exit_code;   /* it has ended, or its workload has */
	unsigned exit_code;   /* the workload's, or 128 + its signal */
	char *isolation;      /* vmm_isolation_text(), of its VMM; NULL: it has none */
	char *cgroup;	      /* path below the cgroup2 mount; NULL: it has none of its own */
	char *cgroup_limits;  /* "memory cpu pids", as far as they could be set */

	/* current values, set by readers; not stored */
	bool has_usage;
	struct usage usage;

	struct json_t *other; /* members of a newer version */
};

/* Does the instance have a disk of its own? */
bool record_has_disk(const struct record *r);

/*
 * Say that the next VM of this instance boots if this one was restored and has a disk: a snapshot's
 * memory fits only the disk that was captured with it, and the VM has written to its own.
 */
void record_boot_next(struct record *r);

/* Is the instance without a VM, because it has ended or is suspended?  Then only a start or a
 * resume makes it run again. */
bool record_is_over(const struct record *r);

/* Does the instance remove itself at its end? */
bool record_removes_itself(const struct record *r);

/* Read and check a record.  -ENOENT, -EBADMSG and others. */
int record_load(int dir_fd, struct record *ret, struct mvm_error *err);

/*
 * Read only what the record says about memory, at a sixtieth of record_load()'s cost: a start asks
 * every instance.  *ret_mem_mib: 0 when the instance is over; *ret_vmm_pid: 0 without a VMM.
 * -EBADMSG if record_save() has not laid the file out; the errors of file_read_at().
 */
int record_read_memory(int instances_fd, const char *name, uint32_t *ret_mem_mib,
		       int64_t *ret_vmm_pid);

/* record_load() from text: a supervisor gets it when its VM is taken from the pool. */
int record_parse(const char *text, size_t len, struct record *ret, struct mvm_error *err);

/* Replace the record whole. */
int record_save(int dir_fd, const struct record *r, struct mvm_error *err);

/* The record's JSON as text; free(3) it.  NULL when out of memory. */
char *record_to_json(const struct record *r);

void record_done(struct record *r);
DEFINE_AUTO_DONE(record, record_done)

#endif
