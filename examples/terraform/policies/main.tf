# The IAM policies of Chaski's roles, as `chaski iam policy` prints them. Needs no provider.

locals {
  # The first 16 digits of the hash of installation and namespace, with a zero byte between them, begin all names of a namespace.
  prefix = { for namespace in var.namespaces : namespace => "chaski-${substr(sha256("${var.installation}\u0000${namespace}"), 0, 16)}-" }

  sqs      = "arn:${var.partition}:sqs:${var.region}:${var.account}"
  dynamodb = "arn:${var.partition}:dynamodb:${var.region}:${var.account}:table"

  read_dead_letters = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"]
  mark_dead_letters = sort(concat(local.read_dead_letters, ["dynamodb:DeleteItem", "dynamodb:UpdateItem"]))

  permissions = {
    worker = [
      {
        sid     = "DeliverMessages"
        actions = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"]
        types   = ["queue"]
      },
      { sid = "KeepDeadLetters", actions = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"], types = ["table"] },
    ]
    replayer = [
      { sid = "ReadAndMarkDeadLetters", actions = local.mark_dead_letters, types = ["table", "index"] },
      { sid = "SendMessages", actions = ["sqs:SendMessage"], types = ["queue"] },
    ]
    ingest = [
      { sid = "SendMessages", actions = ["sqs:SendMessage"], types = ["queue"] },
    ]
    console = [
      { sid = "ReadAndMarkDeadLetters", actions = local.mark_dead_letters, types = ["table", "index"] },
      { sid = "CountAndSendMessages", actions = ["sqs:GetQueueAttributes", "sqs:SendMessage"], types = ["queue"] },
    ]
  }

  # KMS keys are used through the services only; without keys nothing is added.
  key_uses = {
    worker   = { Queues = local.send_with_keys, Tables = local.read_with_keys }
    replayer = { Queues = local.send_with_keys, Tables = local.read_with_keys }
    ingest   = { Queues = local.send_with_keys }
    console  = { Queues = local.send_with_keys, Tables = local.read_with_keys }
    operator = {
      Tables = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
    }
  }
  send_with_keys = ["kms:Decrypt", "kms:GenerateDataKey"]
  read_with_keys = ["kms:Decrypt"]
  key_services   = { Queues = "sqs.*.amazonaws.com", Tables = "dynamodb.*.amazonaws.com" }
  with_keys = {
    for role, uses in local.key_uses : role => length(var.kms_key_arns) == 0 ? [] : [for resources, actions in uses : {
      Sid      = "UseKeysOf${resources}"
      Effect   = "Allow"
      Action   = actions
      Resource = var.kms_key_arns
      Condition = { StringLike = { "kms:ViaService" = concat(
        [local.key_services[resources]], var.partition == "aws-cn" ? ["${local.key_services[resources]}.cn"] : []
      ) } }
    }]
  }

  by_name = {
    for role in ["worker", "replayer"] : role => {
      for namespace, prefix in local.prefix : namespace => {
        Version = "2012-10-17"
        Statement = concat([for each in local.permissions[role] : {
          Sid    = each.sid
          Effect = "Allow"
          Action = each.actions
          Resource = concat(
            contains(each.types, "queue") ? ["${local.sqs}:${prefix}*"] : [],
            contains(each.types, "table") ? ["${local.dynamodb}/${prefix}*"] : [],
            contains(each.types, "index") ? ["${local.dynamodb}/${prefix}*/index/*"] : [],
          )
        }], local.with_keys[role])
      }
    }
  }

  of_installation = {
    for role in ["ingest", "console"] : role => {
      Version = "2012-10-17"
      Statement = concat([for each in local.permissions[role] : {
        Sid    = each.sid
        Effect = "Allow"
        Action = each.actions
        Resource = concat(
          contains(each.types, "queue") ? ["${local.sqs}:chaski-*"] : [],
          contains(each.types, "table") ? ["${local.dynamodb}/chaski-*"] : [],
          contains(each.types, "index") ? ["${local.dynamodb}/chaski-*/index/*"] : [],
        )
        Condition = { StringEquals = {
          "aws:ResourceTag/chaski.dev/managed-by" = "chaski"
          "aws:ResourceTag/chaski.dev/owner"      = var.installation
        } }
      }], local.with_keys[role])
    }
  }

  operator = {
    Version = "2012-10-17"
    Statement = concat([
      { Sid = "FindQueues", Effect = "Allow", Action = ["sqs:ListQueues"], Resource = "*" },
      {
        Sid      = "CreateAndReadQueues"
        Effect   = "Allow"
        Action   = ["sqs:CreateQueue", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ListQueueTags", "sqs:TagQueue"]
        Resource = ["${local.sqs}:chaski-*"]
      },
      {
        Sid      = "ChangeOwnQueues"
        Effect   = "Allow"
        Action   = ["sqs:DeleteQueue", "sqs:SetQueueAttributes"]
        Resource = ["${local.sqs}:chaski-*"]
        Condition = { StringEquals = {
          "aws:ResourceTag/chaski.dev/managed-by" = "chaski"
          "aws:ResourceTag/chaski.dev/owner"      = var.installation
        } }
      },
      {
        Sid    = "CreateAndChangeTables"
        Effect = "Allow"
        Action = [
          "dynamodb:CreateTable", "dynamodb:DeleteTable", "dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable",
          "dynamodb:DescribeTimeToLive", "dynamodb:ListTagsOfResource", "dynamodb:TagResource",
          "dynamodb:UpdateContinuousBackups", "dynamodb:UpdateTable", "dynamodb:UpdateTimeToLive",
        ]
        Resource = ["${local.dynamodb}/chaski-*"]
      },
    ], local.with_keys["operator"])
  }
}
