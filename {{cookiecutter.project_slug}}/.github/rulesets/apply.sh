#!/usr/bin/env bash
# Applies the files of this folder to the repository on GitHub, with `gh` and an administrator's account.
# Repeating it restores what the files say. Run it as: make protect REVIEWERS="ann bob"
#
#   main.json         what a change of the default branch needs.
#   production.json   who must review a job before it runs in the environment `production`.
#   development.json  that only main may use this environment, since it holds secrets too.
set -euo pipefail
cd "$(dirname "$0")"
[ $# -gt 0 ] || { echo 'Who approves deployments? make protect REVIEWERS="ann bob"' >&2; exit 1; }

reviewers=
for login in "$@"; do
    id=$(gh api "users/$login" --jq .id)
    reviewers+="${reviewers:+, }{\"type\": \"User\", \"id\": $id}"
done

rulesets='repos/{owner}/{repo}/rulesets'
known=$(gh api "$rulesets" --jq '.[] | select(.name == "main") | .id')
if [ -n "$known" ]; then
    gh api --method PUT "$rulesets/$known" --input main.json --silent
else
    gh api --method POST "$rulesets" --input main.json --silent
fi
echo 'main: a change needs a reviewed pull request that passed check, champion and compare'

for environment in development production; do
    place="repos/{owner}/{repo}/environments/$environment"
    sed "s/\"reviewers\": \[\]/\"reviewers\": [$reviewers]/" "$environment.json" |
        gh api --method PUT "$place" --input - --silent
    gh api "$place/deployment-branch-policies" --jq '.branch_policies[].name' | grep -qx main ||
        gh api --method POST "$place/deployment-branch-policies" -f name=main --silent
done
echo "production: only main may use it; $* must approve each deployment, but not their own"
