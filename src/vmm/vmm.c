/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vmm.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "codec/sha256.h"
#include "vmm/accel.h"
#include "vmm/firecracker/firecracker.h"
#include "vmm/probe_cache.h"
#include "vmm/qemu/qemu.h"

const struct vmm_ops *const vmm_backends[] = { &vmm_firecracker, &vmm_qemu, NULL };

void vmm_probe_done(struct vmm_probe *p)
{
	free(p->reason);
	free(p->binary);
	free(p->binary_digest);
	free(p->version);
	free(p->state_format);
	free(p->accel_reason);
	*p = (struct vmm_probe){ 0 };
}

const char *vmm_isolation_text(unsigned isolation, char ret[VMM_ISOLATION_TEXT_SIZE])
{
	static const char *const names[] = { "user",	"jailer",   "namespaces",
					     "network", "landlock", "syscalls" };
	size_t len = 0;
	snprintf(ret, VMM_ISOLATION_TEXT_SIZE, "none");
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		if (isolation & 1u << i)
			len += (size_t)snprintf(ret + len, VMM_ISOLATION_TEXT_SIZE - len, "%s%s",
						len ? " " : "", names[i]);
	}
	return ret;
}

int vmm_backend_find(const char *name, const struct vmm_ops **ret, struct mvm_error *err)
{
	AUTO_DONE(strbuf) names = { 0 };
	for (size_t i = 0; vmm_backends[i]; i++) {
		if (str_eq(vmm_backends[i]->name, name)) {
			*ret = vmm_backends[i];
			return 0;
		}
		strbuf_addf(&names, "%s'%s'", i ? ", " : "", vmm_backends[i]->name);
	}
	if (names.failed)
		return mvm_error_oom(err);
	return mvm_error_set(err, -EINVAL, "no backend is named '%s'; there is %s", name,
			     names.data);
}

int vmm_backend_binary(const struct vmm_ops *ops, char **ret)
{
	const char *name = ops->binary_env ? getenv(ops->binary_env) : NULL;
	AUTO_FREE char *found = NULL;
	int r = process_find(str_empty(name) ? ops->binary : name, &found);
	if (r < 0)
		return r;
	char *path = realpath(found, NULL);
	if (!path)
		return -errno;
	*ret = path;
	return 0;
}

/* Make the key that a cached probe must match.  Returns 1, or 0 when there is nothing to cache. */
static int make_key(const struct vmm_ops *ops, struct probe_key *ret, char **ret_binary,
		    char **ret_cpu, const char **ret_accel_reason)
{
	AUTO_FREE char *cpuinfo = NULL;
	if (!ops->binary || vmm_backend_binary(ops, ret_binary) < 0)
		return 0; /* the probe itself says what is wrong */
	assert(*ret_binary);
	if (stat(*ret_binary, &ret->st) < 0 || cpuinfo_read(&cpuinfo) < 0 ||
	    cpuinfo_fingerprint(cpuinfo, ret_cpu) < 0)
		return 0; /* as above */
	ret->binary = *ret_binary;
	ret->cpu = *ret_cpu;
	ret->accel = vmm_accel_choose(ret_accel_reason);
	return 1;
}

/* Add the digest of the program that was asked.  It is empty for a program that we may run but not
 * read.  Only the version tells such a program from others. */
static int add_binary_digest(struct vmm_probe *p)
{
	struct mvm_digest digest;
	char hex[DIGEST_HEX_SIZE] = "";
	if (!p->binary)
		return 0;
	AUTO_CLOSE int fd = open(p->binary, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && sha256_fd(fd, NULL, &digest, NULL) == 0)
		digest_hex(&digest, hex);
	p->binary_digest = strdup(hex);
	return p->binary_digest ? 0 : -ENOMEM;
}

int vmm_backend_probe(const struct vmm_ops *ops, int cache_fd, const struct mvm_progress *progress,
		      struct vmm_probe *ret, struct mvm_error *err)
{
	AUTO_FREE char *binary = NULL, *cpu = NULL;
	AUTO_DONE(vmm_probe) p = { 0 };
	struct probe_key key = { 0 };
	const char *accel_reason = NULL;

	bool cacheable = cache_fd >= 0 && make_key(ops, &key, &binary, &cpu, &accel_reason);
	int r = cacheable ? probe_cache_load(cache_fd, ops->name, &key, &p) : 0;
	if (r < 0)
		return mvm_error_oom(err);
	if (r == 1) {
		p.accel_reason = strdup(accel_reason);
		if (!p.accel_reason)
			return mvm_error_oom(err);
	} else {
		r = ops->probe(progress, &p, err);
		if (r < 0)
			return r;
		if (p.usable && add_binary_digest(&p) < 0)
			return mvm_error_oom(err);
		if (cacheable && p.usable)
			/* a failure only makes the next probe slower */
			probe_cache_save(cache_fd, ops->name, &key, &p);
	}
	r = p.usable && ops->refuses ? ops->refuses(&p, &p.reason) : 0;
	if (r < 0)
		return mvm_error_oom(err);
	p.usable = p.usable && r == 0;
	*ret = p;
	p = (struct vmm_probe){ 0 };
	return 0;
}

static int in_context(const struct vmm *v, int r, struct mvm_error *err)
{
	return r < 0 ? mvm_error_context(err, r, "VM '%s'", v->name) : 0;
}

/* Is the VM in the state that the call needs? */
static int check_state(const struct vmm *v, enum vmm_state wanted, struct mvm_error *err)
{
	static const char *const words[] = { "has not started", "is running", "is paused",
					     "has ended" };
	if (v->state == wanted)
		return 0;
	return mvm_error_set(err, v->state == VMM_ENDED ? -EREMOTEIO : -EBUSY, "VM '%s' %s",
			     v->name, words[v->state]);
}

static int unsupported(const struct vmm *v, const char *what, struct mvm_error *err)
{
	return mvm_error_set(err, -EOPNOTSUPP, "%s is not supported by %s", what, v->ops->name);
}

const char *vmm_network_obstacle(const struct vmm_ops *ops)
{
	if (!ops->caps.network_user)
		return "it has no network";
	return ops->network_obstacle ? ops->network_obstacle() : NULL;
}

static int check_config(const struct vmm_ops *ops, const struct vmm_probe *probe,
			const struct vmm_config *c, struct mvm_error *err)
{
	if (!probe->usable)
		return mvm_error_set(err, -EOPNOTSUPP, "backend %s cannot be used: %s", ops->name,
				     probe->reason ? probe->reason : "no reason known");
	if (c->n_drives > MVM_ARRAY_SIZE(c->drives))
		return mvm_error_set(err, -EINVAL, "more than %zu drives",
				     MVM_ARRAY_SIZE(c->drives));
	const char *obstacle = c->network ? vmm_network_obstacle(ops) : NULL;
	if (obstacle)
		return mvm_error_set(err, -EOPNOTSUPP, "no network on backend %s: %s", ops->name,
				     obstacle);
	if (c->memory != VMM_MEMORY_PRIVATE && !ops->caps.snapshots)
		return mvm_error_set(err, -EOPNOTSUPP, "snapshots are not supported by %s",
				     ops->name);
	return 0;
}

bool vmm_has_own_drive(const struct vmm_config *c)
{
	bool has = false;
	for (size_t i = 0; i < c->n_drives; i++)
		has |= c->drives[i].own;
	return has;
}

/* ---- both halves in one process ---- */

static int own_seal(void *arg, struct mvm_error *err)
{
	struct vmm_body *b = arg;
	return b->ops->seal(b, err);
}

static int own_seal_network(void *arg, struct mvm_error *err)
{
	struct vmm_body *b = arg;
	return b->ops->seal_network(b, err);
}

static int own_reap(void *arg, int *ret_status)
{
	struct vmm_body *b = arg;
	return process_wait(&b->process, 0, ret_status);
}

static void own_take_back(void *arg)
{
	struct vmm_body *b = arg;
	b->ops->take_back(b);
}

static void own_kill(void *arg)
{
	const struct vmm_body *b = arg;
	if (b->process.pid > 0)
		kill(b->process.pid, SIGKILL); /* not reaped, so still its pid */
}

static void own_end(void *arg)
{
	struct vmm_body *b = arg;
	b->ops->end(b);
}

static int own_connect(void *arg)
{
	struct vmm_body *b = arg;
	return b->ops->connect(b);
}

static int own_halt(void *arg, enum vmm_halt how)
{
	struct vmm_body *b = arg;
	return b->ops->halt(b, how);
}

static bool own_host_swaps(void *arg)
{
	const struct vmm_body *b = arg;
	return b->ops->host_swaps();
}

static int own_open_port(void *arg, const struct vmm_forward *forward, struct mvm_error *err)
{
	struct vmm_body *b = arg;
	return b->ops->open_port(b, forward, err);
}

static int own_set_rules(void *arg, const struct vmm_network *rules, struct mvm_error *err)
{
	struct vmm_body *b = arg;
	return b->ops->set_rules(b, rules, err);
}

struct vmm_keeper vmm_keeper_of(struct vmm_body *b)
{
	return (struct vmm_keeper){
		.seal = own_seal,
		.reap = own_reap,
		.take_back = own_take_back,
		.kill = own_kill,
		.end = own_end,
		.seal_network = own_seal_network,
		.connect = own_connect,
		.halt = own_halt,
		.host_swaps = own_host_swaps,
		.open_port = own_open_port,
		.set_rules = own_set_rules,
		.arg = b,
	};
}

static int spawn_halves(const struct vmm_ops *ops, const struct vmm_probe *probe,
			const struct vmm_config *c, struct loop *loop, int64_t deadline_ns,
			struct vmm **ret, struct mvm_error *err)
{
	struct vmm_body *body = NULL;
	struct vmm_ends ends = VMM_ENDS_NONE;
	int r = ops->start(probe, c, loop, &body, &ends, err);
	if (r < 0)
		return r;
	const struct vmm_keeper keeper = vmm_keeper_of(body);
	r = ops->attach(c, &ends, &keeper, loop, deadline_ns, ret, err);
	if (r < 0 && c->memory == VMM_MEMORY_CAPTURE)
		unlinkat(c->memory_dir_fd, c->memory_name, 0); /* best effort */
	return r;
}

int vmm_spawn(const struct vmm_ops *ops, const struct vmm_probe *probe,
	      const struct vmm_config *config, struct loop *loop, int64_t deadline_ns,
	      struct vmm **ret, struct mvm_error *err)
{
	struct vmm *v = NULL;
	int r = check_config(ops, probe, config, err);
	if (r == 0 && ops->spawn)
		r = ops->spawn(probe, config, loop, deadline_ns, &v, err);
	else if (r == 0)
		r = spawn_halves(ops, probe, config, loop, deadline_ns, &v, err);
	if (r < 0)
		return mvm_error_context(err, r, "VM '%s'", config->name);
	assert(v->ops == ops);
	v->state = v->state == VMM_ENDED ? VMM_ENDED : VMM_SPAWNED;
	*ret = v;
	return 0;
}

void vmm_ends_done(struct vmm_ends *e)
{
	for (size_t i = 0; i < VMM_ENDS; i++)
		auto_close(&e->fd[i]);
	*e = (struct vmm_ends)VMM_ENDS_NONE;
}

int vmm_start(const struct vmm_ops *ops, const struct vmm_probe *probe,
	      const struct vmm_config *config, struct loop *loop, struct vmm_body **ret,
	      struct vmm_ends *ret_ends, struct mvm_error *err)
{
	int r = check_config(ops, probe, config, err);
	if (r == 0)
		r = ops->start(probe, config, loop, ret, ret_ends, err);
	return r < 0 ? mvm_error_context(err, r, "VM '%s'", config->name) : 0;
}

int vmm_attach(const struct vmm_ops *ops, const struct vmm_config *config, struct vmm_ends *ends,
	       const struct vmm_keeper *keeper, struct loop *loop, int64_t deadline_ns,
	       struct vmm **ret, struct mvm_error *err)
{
	struct vmm *v = NULL;
	int r = ops->attach(config, ends, keeper, loop, deadline_ns, &v, err);
	if (r < 0)
		return mvm_error_context(err, r, "VM '%s'", config->name);
	assert(v->ops == ops);
	v->state = v->state == VMM_ENDED ? VMM_ENDED : VMM_SPAWNED;
	*ret = v;
	return 0;
}

void vmm_kill(struct vmm *v)
{
	if (v->ops->kill)
		v->ops->kill(v);
	else if (v->process.pid > 0)
		kill(v->process.pid, SIGKILL); /* not reaped, so still its pid */
}

/* Run one op that leads from one state to another, unless the VM ends under it. */
static int change_state(struct vmm *v, enum vmm_state from, enum vmm_state to,
			int (*op)(struct vmm *, int64_t, struct mvm_error *), int64_t deadline_ns,
			struct mvm_error *err)
{
	int r = check_state(v, from, err);
	if (r < 0)
		return r;
	r = op(v, deadline_ns, err);
	if (r < 0)
		return in_context(v, r, err);
	if (v->state != VMM_ENDED)
		v->state = to;
	return 0;
}

int vmm_boot(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	if (v->memory == VMM_MEMORY_CLONE)
		return mvm_error_set(err, -EBUSY, "VM '%s' waits for a restore", v->name);
	return change_state(v, VMM_SPAWNED, VMM_RUNNING, v->ops->boot, deadline_ns, err);
}

int vmm_pause(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	if (!v->ops->caps.pause)
		return unsupported(v, "pausing", err);
	return change_state(v, VMM_RUNNING, VMM_PAUSED, v->ops->pause, deadline_ns, err);
}

int vmm_resume(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	if (!v->ops->caps.pause)
		return unsupported(v, "resuming", err);
	int r = change_state(v, VMM_PAUSED, VMM_RUNNING, v->ops->resume, deadline_ns, err);
	if (r == 0)
		v->resumed_ns = clock_now_ns(); /* again for a VM that waited in a pool */
	return r;
}

int vmm_snapshot(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err)
{
	if (!v->ops->snapshot)
		return unsupported(v, "taking a snapshot", err);
	int r = check_state(v, VMM_PAUSED, err);
	if (r < 0)
		return r;
	if (v->memory != VMM_MEMORY_CAPTURE)
		return mvm_error_set(err, -EBUSY, "VM '%s' was not started to be captured",
				     v->name);
	return in_context(v, v->ops->snapshot(v, dir_fd, deadline_ns, err), err);
}

int vmm_save_devices(struct vmm *v, int fd, int64_t deadline_ns, struct mvm_error *err)
{
	if (!v->ops->save_devices)
		return unsupported(v, "keeping a running VM's state", err);
	int r = check_state(v, VMM_PAUSED, err);
	if (r < 0)
		return r;
	if (v->memory != VMM_MEMORY_CLONE)
		return mvm_error_set(err, -EOPNOTSUPP, "VM '%s' was not restored from a snapshot",
				     v->name);
	return in_context(v, v->ops->save_devices(v, fd, deadline_ns, err), err);
}

int vmm_map_memory(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err)
{
	if (!v->ops->map_memory)
		return 0;
	int r = check_state(v, VMM_SPAWNED, err);
	if (r < 0)
		return r;
	return in_context(v, v->ops->map_memory(v, dir_fd, deadline_ns, err), err);
}

int vmm_restore(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err)
{
	if (!v->ops->restore)
		return unsupported(v, "restoring a snapshot", err);
	int r = check_state(v, VMM_SPAWNED, err);
	if (r < 0)
		return r;
	if (v->memory != VMM_MEMORY_CLONE)
		return mvm_error_set(err, -EBUSY, "VM '%s' was not started as a clone", v->name);
	r = v->ops->restore(v, dir_fd, deadline_ns, err);
	if (r < 0)
		return in_context(v, r, err);
	if (v->state != VMM_ENDED)
		v->state = VMM_RUNNING;
	return 0;
}

int vmm_forward(struct vmm *v, const struct vmm_forward *forward, int64_t deadline_ns,
		struct mvm_error *err)
{
	if (!v->ops->forward)
		return unsupported(v, "forwarding ports of a running VM", err);
	if (v->state == VMM_ENDED)
		return check_state(v, VMM_RUNNING, err);
	return in_context(v, v->ops->forward(v, forward, deadline_ns, err), err);
}

int vmm_network_rules(struct vmm *v, const struct vmm_network *rules, int64_t deadline_ns,
		      struct mvm_error *err)
{
	if (!v->ops->network_rules)
		return unsupported(v, "rules for the network", err);
	if (v->state == VMM_ENDED)
		return check_state(v, VMM_RUNNING, err);
	return in_context(v, v->ops->network_rules(v, rules, deadline_ns, err), err);
}

int vmm_power_button(struct vmm *v, int64_t deadline_ns, struct mvm_error *err)
{
	if (!v->ops->power_button)
		return unsupported(v, "a power button", err);
	int r = check_state(v, VMM_RUNNING, err);
	return r < 0 ? r : in_context(v, v->ops->power_button(v, deadline_ns, err), err);
}

void vmm_on_network(struct vmm *v, vmm_network_fn fn, void *arg)
{
	v->on_network = fn;
	v->on_network_arg = arg;
}

void vmm_on_disk(struct vmm *v, vmm_disk_fn fn, void *arg)
{
	v->on_disk = fn;
	v->on_disk_arg = arg;
}

void vmm_on_ended(struct vmm *v, vmm_ended_fn fn, void *arg)
{
	v->on_ended = fn;
	v->on_ended_arg = arg;
}

void vmm_free(struct vmm *v)
{
	if (v)
		v->ops->free(v);
}
