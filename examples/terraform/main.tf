# IAM roles of Chaski on EKS, with Pod Identity: one for the operator, one for ingest, one for the console, and for each namespace one
# for workers and one for replays, which reach the queues and tables of that namespace only.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.29" # aws_eks_pod_identity_association
    }
  }
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

module "policies" {
  source       = "./policies"
  installation = var.installation
  namespaces   = keys(var.routes)
  account      = data.aws_caller_identity.this.account_id
  region       = coalesce(var.region, data.aws_region.this.name)
  partition    = data.aws_partition.this.partition
  kms_key_arns = var.kms_key_arns
}

locals {
  # The names of the ServiceAccounts: chaski-ROUTE of workers, chaski-ROUTE.replay of replays, RELEASE-PART of the chart.
  tenants = merge([for namespace in keys(var.routes) : {
    for role, policies in module.policies.by_namespace : "${role}/${namespace}" => {
      role      = role
      namespace = namespace
      policy    = policies[namespace]
      accounts  = role == "worker" ? "chaski-*" : "chaski-*.replay"
    }
  }]...)
  parts = { for role, policy in module.policies.of_installation : role => {
    role      = role
    namespace = var.chart_namespace
    policy    = policy
    accounts  = "${var.release}-${role}"
  } if role != "console" || var.console }
  roles = merge(local.tenants, local.parts)

  associations = merge(
    { for role, each in local.parts : role => { key = role, namespace = each.namespace, account = each.accounts } },
    merge(flatten([for namespace, routes in var.routes : [for route in routes : {
      "worker/${namespace}/${route}"   = { key = "worker/${namespace}", namespace = namespace, account = "chaski-${route}" }
      "replayer/${namespace}/${route}" = { key = "replayer/${namespace}", namespace = namespace, account = "chaski-${route}.replay" }
    }]])...),
  )
}

data "aws_iam_policy_document" "trust" {
  for_each = local.roles
  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]
    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.this.account_id]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/eks-cluster-name"
      values   = [var.cluster]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/kubernetes-namespace"
      values   = [each.value.namespace]
    }
    condition {
      test     = "StringLike"
      variable = "aws:RequestTag/kubernetes-service-account"
      values   = [each.value.accounts]
    }
  }
}

resource "aws_iam_role" "this" {
  for_each = local.roles
  # At most 64 characters, so that a long namespace is cut; the hash keeps the names apart.
  name               = "${substr("${var.name_prefix}${replace(each.key, "/", "-")}", 0, 55)}-${substr(sha256(each.key), 0, 8)}"
  assume_role_policy = data.aws_iam_policy_document.trust[each.key].json
  tags               = var.tags
}

resource "aws_iam_role_policy" "this" {
  for_each = local.roles
  name     = "chaski"
  role     = aws_iam_role.this[each.key].id
  policy   = each.value.policy
}

resource "aws_eks_pod_identity_association" "this" {
  for_each        = local.associations
  cluster_name    = var.cluster
  namespace       = each.value.namespace
  service_account = each.value.account
  role_arn        = aws_iam_role.this[each.value.key].arn
  tags            = var.tags
}
