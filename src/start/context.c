/* SPDX-License-Identifier: Apache-2.0 */
#include "start/context.h"

#include <errno.h>

#include "base/error.h"
#include "model/policy.h"
#include "start/facts.h"
#include "vmm/mend.h"

/* Treat a folder without write permission as a read-only file system, if it exists. r: the first
 * attempt's error; returned if the folder is missing. */
static int open_unwritable(const char *data_dir, int r, struct store **ret)
{
	AUTO(store) s = NULL;
	if (store_open(data_dir, STORE_READ_ONLY, &s, NULL) < 0 || store_root(s) < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

int mvm_open(const char *data_dir, struct mvm **ret, struct mvm_error *err)
{
	struct mvm *mvm = calloc(1, sizeof(*mvm));
	if (!mvm)
		return mvm_error_oom(err);
	int r = store_open(data_dir, 0, &mvm->store, err);
	/* reading commands still work; writing commands report the error */
	if (r == -EROFS)
		r = store_open(data_dir, STORE_READ_ONLY, &mvm->store, err);
	else if (r == -EACCES)
		r = open_unwritable(data_dir, r, &mvm->store);
	if (r < 0) {
		free(mvm);
		return r;
	}
	*ret = mvm;
	return 0;
}

static void forget_arriving(struct arriving *a)
{
	if (!a)
		return;
	auto_close(&a->dir_fd);
	auto_close(&a->source_fd);
	auto_close(&a->lease_fd);
	free(a);
}

void mvm_close(struct mvm *mvm)
{
	if (!mvm)
		return;
	forget_arriving(mvm->arriving);
	store_free(mvm->store);
	free(mvm);
}

const char *mvm_version(void)
{
	return MVM_VERSION;
}

static int probe(struct mvm *mvm, const struct vmm_ops *ops, const struct mvm_progress *progress,
		 struct vmm_probe *ret, struct mvm_error *err)
{
	/* without a folder for the cache the probe only takes longer */
	return vmm_backend_probe(ops, store_dir(mvm->store, STORE_CACHE), progress, ret, err);
}

/* Why a backend cannot give a revision the network that it wants; NULL: it can. */
static const char *lacks_network(const struct vmm_ops *ops,
				 const struct mvm_template_revision *revision)
{
	const struct mvm_run *run = &revision->run;
	if (run->network == MVM_NETWORK_NONE)
		return NULL;
	if (!ops->caps.network_domains && (policy_names_domain(run->allow.v, run->allow.n) ||
					   policy_names_domain(run->deny.v, run->deny.n)))
		return "it cannot hold a guest to the domains in the template's rules";
	return vmm_network_obstacle(ops);
}

int context_backend(struct mvm *mvm, const char *name, const struct mvm_template_revision *revision,
		    const struct mvm_progress *progress, const struct vmm_ops **ret,
		    struct vmm_probe *ret_probe, struct mvm_error *err)
{
	const struct vmm_ops *only = NULL;
	AUTO_DONE(strbuf) reasons = { 0 };
	const char *mend = NULL;
	int r = name ? vmm_backend_find(name, &only, err) : 0;
	if (r < 0)
		return r;

	for (size_t i = 0; vmm_backends[i]; i++) {
		AUTO_DONE(vmm_probe) found = { 0 };
		if (only && vmm_backends[i] != only)
			continue;
		r = probe(mvm, vmm_backends[i], progress, &found, err);
		if (r < 0)
			return r;
		const char *obstacle = lacks_network(vmm_backends[i], revision);
		if (found.usable && !obstacle) {
			*ret = vmm_backends[i];
			*ret_probe = found;
			found = (struct vmm_probe){ 0 };
			return 0;
		}
		mend = mend_backend(vmm_backends[i], &found);
		strbuf_addf(&reasons, "%s%s: ", reasons.len ? "; " : "", vmm_backends[i]->name);
		if (found.usable)
			strbuf_addf(&reasons,
				    "%s (a template with network = \"none\" does not need this)",
				    obstacle);
		else
			strbuf_adds(&reasons, found.reason ? found.reason : "not usable");
	}
	r = mvm_error_set(err, -EOPNOTSUPP, "%s: %s",
			  only ? "the chosen backend cannot run this VM"
			       : "no backend here can run this VM",
			  reasons.data ? reasons.data : "no backends");
	if (!only)
		return mvm_error_reason(err, r, "no-backend", NULL);
	r = mvm_error_reason(err, r, "backend-unusable", only->name);
	return mend ? mvm_error_hint(err, r, "%s", mend) : r;
}

int context_key(const struct vmm_ops *ops, const struct vmm_probe *probe, struct variant_key *ret,
		struct mvm_error *err)
{
	static const struct strv no_artifacts;
	/* any machine: what depends on it is not hashed */
	const struct vmm_config config = {
		.vcpus = 1, .mem_mib = MVM_MEM_MIB_MIN, .kernel = "", .cmdline = "", .dir_fd = -1
	};
	const struct facts_input in = {
		.ops = ops, .probe = probe, .config = &config, .artifacts = &no_artifacts
	};
	AUTO_DONE(strv) facts = { 0 };

	int r = facts_gather(&in, &facts, err);
	if (r == 0)
		facts_key(facts.v, facts.n, ret);
	return r;
}

int context_keys(struct mvm *mvm, const struct mvm_progress *progress,
		 struct variant_key ret[CONTEXT_KEYS_MAX], struct mvm_error *err)
{
	int n = 0;

	for (size_t i = 0; vmm_backends[i] && n < CONTEXT_KEYS_MAX; i++) {
		AUTO_DONE(vmm_probe) found = { 0 };
		int r = probe(mvm, vmm_backends[i], progress, &found, err);
		if (r < 0)
			return r;
		/* one whose facts cannot be read restores nothing */
		if (found.usable && context_key(vmm_backends[i], &found, &ret[n], NULL) == 0)
			n++;
	}
	return n;
}
