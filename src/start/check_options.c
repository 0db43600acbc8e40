/* SPDX-License-Identifier: Apache-2.0 */
/* Checks struct mvm_start_options, as far as that needs no template. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"
#include "base/str.h"
#include "model/label.h"
#include "model/policy.h"
#include "model/strings.h"
#include "start/start.h"
#include "start/volumes.h"

/* mvm-net tells every five seconds whether forwarded ports are in use. */
#define ON_IDLE_MS_MIN INT64_C(10000)

static int check_numbers(const struct mvm_start_options *o, struct mvm_error *err)
{
	if ((unsigned)o->kind > MVM_START_REQUIRE_SNAPSHOT)
		return mvm_error_set(err, -EINVAL, "kind is %d, which is no enum mvm_start_kind",
				     (int)o->kind);
	if ((unsigned)o->restart > MVM_RESTART_UNLESS_STOPPED)
		return mvm_error_set(err, -EINVAL, "restart is %d, which is no enum mvm_restart",
				     (int)o->restart);
	if (o->ttl_ms < 0)
		return mvm_error_set(err, -EINVAL, "ttl_ms is negative: %" PRId64, o->ttl_ms);
	if (o->on_idle_ms && o->on_idle_ms < ON_IDLE_MS_MIN)
		return mvm_error_set(err, -EINVAL,
				     "on_idle_ms is neither 0 nor at least %" PRId64 ": %" PRId64,
				     ON_IDLE_MS_MIN, o->on_idle_ms);
	if ((unsigned)o->ttl_action > MVM_THEN_SUSPEND ||
	    (unsigned)o->on_idle_action > MVM_THEN_SUSPEND)
		return mvm_error_set(err, -EINVAL, "an action is no enum mvm_then");
	if (o->volume_timeout_ms < 0)
		return mvm_error_set(err, -EINVAL, "volume_timeout_ms is negative: %" PRId64,
				     o->volume_timeout_ms);
	if (o->no_network && o->network_allow && o->network_allow[0])
		return mvm_error_set(err, -EINVAL,
				     "no_network and network_allow exclude each other");
	size_t n_dns = 0;
	for (; o->network_dns && o->network_dns[n_dns]; n_dns++)
		if (!parse_address_ok(o->network_dns[n_dns]))
			return mvm_error_set(err, -EINVAL, "'%s' is no address of a name server",
					     o->network_dns[n_dns]);
	if (n_dns > POLICY_DNS_MAX)
		return mvm_error_set(err, -EINVAL, "network_dns names more than %u name servers",
				     POLICY_DNS_MAX);
	if (o->root_disk_mib &&
	    (o->root_disk_mib < MVM_ROOT_DISK_MIB_MIN || o->root_disk_mib > MVM_ROOT_DISK_MIB_MAX))
		return mvm_error_set(
			err, -EINVAL,
			"root_disk_mib is %" PRIu32 ", neither 0 nor between %u and %u",
			o->root_disk_mib, MVM_ROOT_DISK_MIB_MIN, MVM_ROOT_DISK_MIB_MAX);
	if (o->log_max_bytes > INT64_MAX)
		return mvm_error_set(err, -EINVAL,
				     "log_max_bytes is larger than a file can be: %" PRIu64,
				     o->log_max_bytes);
	return 0;
}

static bool is_address(const struct mvm_forward *f)
{
	return memchr(f->host_address, '\0', sizeof(f->host_address)) &&
	       (!f->host_address[0] || parse_address_ok(f->host_address));
}

static int check_forward(const struct mvm_forward *f, size_t i, struct mvm_error *err)
{
	if (!mem_is_zero(f->reserved, sizeof(f->reserved)))
		return mvm_error_set(err, -EOPNOTSUPP,
				     "forwards[%zu].reserved is not 0: this libmvm has no members "
				     "there",
				     i);
	if (f->guest_port == 0)
		return mvm_error_set(err, -EINVAL, "forwards[%zu].guest_port is 0", i);
	if (!is_address(f))
		return mvm_error_set(err, -EINVAL,
				     "forwards[%zu].host_address is no numeric IPv4 or IPv6 "
				     "address",
				     i);
	return 0;
}

bool start_wants_suspend(const struct mvm_start_options *o)
{
	return (o->ttl_ms && o->ttl_action == MVM_THEN_SUSPEND) ||
	       (o->on_idle_ms && o->on_idle_action == MVM_THEN_SUSPEND);
}

static int check_suspend(const struct mvm_start_options *o, struct mvm_error *err)
{
	if (!start_wants_suspend(o))
		return 0;
	if (o->attached)
		return mvm_error_set(err, -EINVAL,
				     "a VM that ends with its starter cannot be suspended");
	if (o->kind == MVM_START_COLD)
		return mvm_error_set(err, -EINVAL, "a VM that boots cannot be suspended");
	for (size_t i = 0; i < o->n_volumes; i++)
		if (o->volumes[i].write_back)
			return mvm_error_set(err, -EINVAL,
					     "a VM whose volume '%s' is copied back at its end "
					     "cannot be suspended",
					     o->volumes[i].guest);
	return 0;
}

int start_options_check(const struct mvm_start_options *o, struct mvm_error *err)
{
	AUTO_DONE(mvm_strings) labels = { 0 };
	int r = check_numbers(o, err);
	if (r == 0)
		r = labels_make(o->labels, &labels, err);
	if (r < 0)
		return r;
	if (o->n_forwards > RECORD_FORWARDS_MAX)
		return mvm_error_set(err, -EINVAL, "more than %u ports", RECORD_FORWARDS_MAX);
	if (o->n_volumes > MVM_VOLUMES_MAX)
		return mvm_error_set(err, -EINVAL, "more than %d volumes", MVM_VOLUMES_MAX);
	if (o->n_forwards && !o->forwards)
		return mvm_error_set(err, -EINVAL, "forwards is NULL, but n_forwards is %zu",
				     o->n_forwards);
	if (o->n_volumes && !o->volumes)
		return mvm_error_set(err, -EINVAL, "volumes is NULL, but n_volumes is %zu",
				     o->n_volumes);
	for (size_t i = 0; i < o->n_forwards && r == 0; i++)
		r = check_forward(&o->forwards[i], i, err);
	for (size_t i = 0; i < o->n_volumes && r == 0; i++)
		r = volume_check_reserved(&o->volumes[i], i, err);
	return r < 0 ? r : check_suspend(o, err);
}
